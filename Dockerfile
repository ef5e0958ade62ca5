# syntax=docker/dockerfile:1

# The image of the agent: one program, what it links, the certificates that it trusts, and no shell.
#
#     docker buildx build --platform linux/amd64,linux/arm64 --build-arg REVISION=$(git rev-parse HEAD) --tag REGISTRY/salvage:VERSION --push .
#
# Each platform is built by its own compiler: cryptography and compression are C, and a cross build would need a second toolchain with its own libraries. Give buildx a node
# of each platform; under emulation it works too, and takes hours. A static program (musl) would be another one than the tests have run.

FROM rust:1.95.0-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
# The caches are kept for the next build and are no part of the image; one for each platform, since cargo does not tell them apart.
ARG TARGETPLATFORM
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,id=salvage-target-$TARGETPLATFORM,sharing=locked \
    CARGO_INCREMENTAL=0 cargo build --release --locked --bin salvage && cp target/release/salvage /salvage

# The files of the image. tests/it/image.rs runs these very lines on a Debian 12 and the agent in what they make.
FROM build AS root
ARG BINARY=/salvage
ARG ROOT=/root-of-the-image
RUN <<'END'
set -eu
mkdir -p "$ROOT/etc" "$ROOT/var/lib/dpkg/status.d"

# Function names stay, for backtraces: 42 MB instead of 33. With line tables it is 206.
strip --strip-debug -o "$ROOT/salvage" "$BINARY"

# Those that the program was linked against a moment ago: no base image can be older or newer than it.
libraries=$(ldd "$BINARY" | grep -o '/[^ ]*')
for library in $libraries; do install -D -m 755 "$library" "$ROOT$library"; done
install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$ROOT/etc/ssl/certs/ca-certificates.crt"

# For scanners, which look here for what is installed, and the licences of what is passed on.
install -m 644 /etc/os-release "$ROOT/etc/os-release"
packages=$(dpkg-query --search $libraries | cut -d: -f1 | sort -u)
for package in $packages ca-certificates; do
    dpkg-query --status "$package" >"$ROOT/var/lib/dpkg/status.d/$package"
    install -D -m 644 "/usr/share/doc/$package/copyright" "$ROOT/usr/share/doc/$package/copyright"
done

# /etc/hosts, which the kubelet writes, before DNS. glibc's own order is the other way round.
echo 'hosts: files dns' >"$ROOT/etc/nsswitch.conf"
echo 'root:x:0:0:root:/:/nonexistent' >"$ROOT/etc/passwd"
echo 'root:x:0:' >"$ROOT/etc/group"
END

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="salvage" \
      org.opencontainers.image.description="Keeps what a crash leaves behind: dumps from a node's directories, whole, in object storage, with their facts." \
      org.opencontainers.image.source="https://github.com/salvage-dev/salvage" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=root /root-of-the-image/ /
# The agent reads files of every user, by four capabilities that only uid 0 gets (helm/salvage).
USER 0
EXPOSE 9464
ENTRYPOINT ["/salvage"]
