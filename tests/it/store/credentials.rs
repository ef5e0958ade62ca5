//! Every way to credentials, taken by the real binary: each has a loopback stand-in that hands out the one key the store knows.
//!
//! Endpoint and region are given once and must hold for each of them. `HTTP_PROXY` leads nowhere throughout: what is plain HTTP, the
//! tokens of these services among it, goes to no proxy.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::support::agent::SALVAGE;
use crate::support::http::{Answer, Asked, Fake};
use crate::support::s3::{S3Op, S3Server, no_credentials_env};

const SESSION: &str = "the-session-token-of-a-role";
/// Far enough away that no credentials are renewed during a test.
const EXPIRES: &str = "2099-01-01T00:00:00Z";

struct Scene {
    server: S3Server,
    directory: TempDir,
}

impl Scene {
    fn new() -> Self {
        Self {
            server: S3Server::start(),
            directory: TempDir::with_prefix("salvage-credentials-").expect("a directory"),
        }
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, content).expect("written");
        path
    }

    /// `salvage ls` with this environment and no other.
    fn ls(&self, env: &[(&str, &str)]) -> Output {
        let mut command = Command::new(SALVAGE);
        command
            .args(["ls", "-o", "json", "--store"])
            .arg(format!("s3://{}", self.server.bucket()))
            .args(["--endpoint", &self.server.endpoint()])
            .args(["--region", self.server.region()])
            .stdin(Stdio::null())
            .env_clear()
            .env("HOME", self.directory.path())
            .envs(no_credentials_env())
            .env("HTTP_PROXY", "http://127.0.0.1:1")
            .env("http_proxy", "http://127.0.0.1:1")
            .envs(env.iter().copied());
        command.output().expect("runs")
    }

    /// The listing worked, and was signed with the store's key and this session.
    fn assert_listed(&self, output: &Output, session: Option<&str>) {
        let code = output.status.code();
        // 1: it listed, and there is nothing.
        assert_eq!(code, Some(1), "{}", shown(output));
        assert!(self.server.count(S3Op::List) > 0);
        for request in self.server.requests() {
            assert_eq!(request.status, Some(200), "{request:?}");
            assert_eq!(request.signed_by(), Some(self.server.access_key()));
            assert_eq!(request.header("x-amz-security-token"), session);
        }
        self.assert_no_secret(output);
    }

    fn assert_failed(&self, output: &Output, remedies: &[&str]) {
        let text = shown(output);
        assert_eq!(output.status.code(), Some(2), "{text}");
        for remedy in remedies {
            assert!(text.contains(remedy), "{remedy}: {text}");
        }
        assert!(self.server.requests().is_empty());
        self.assert_no_secret(output);
    }

    fn assert_no_secret(&self, output: &Output) {
        let text = shown(output);
        for secret in [self.server.secret_key(), SESSION] {
            assert!(!text.contains(secret), "{text}");
        }
    }

    /// Credentials as the pod identity and metadata services hand them out.
    fn json(&self) -> String {
        serde_json::json!({
            "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2026-01-01T00:00:00Z",
            "AccessKeyId": self.server.access_key(), "SecretAccessKey": self.server.secret_key(),
            "Token": SESSION, "Expiration": EXPIRES,
        })
        .to_string()
    }

    /// The same as STS does.
    fn xml(&self) -> String {
        format!(
            "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleWithWebIdentityResult><Credentials>\
             <AccessKeyId>{}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey><SessionToken>{SESSION}</SessionToken><Expiration>{EXPIRES}</Expiration>\
             </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>",
            self.server.access_key(),
            self.server.secret_key()
        )
    }
}

fn shown(output: &Output) -> String {
    format!(
        "{}\nout: {}\nerr: {}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn keys_of_the_environment_are_used() {
    let scene = Scene::new();
    let (id, secret) = (scene.server.access_key(), scene.server.secret_key());
    let output = scene.ls(&[("AWS_ACCESS_KEY_ID", id), ("AWS_SECRET_ACCESS_KEY", secret)]);
    scene.assert_listed(&output, None);
    scene.server.forget_requests();
    let output = scene.ls(&[
        ("AWS_ACCESS_KEY_ID", id),
        ("AWS_SECRET_ACCESS_KEY", secret),
        ("AWS_SESSION_TOKEN", SESSION),
    ]);
    scene.assert_listed(&output, Some(SESSION));
}

#[test]
fn a_profile_is_used() {
    let scene = Scene::new();
    let file = scene.file(
        "credentials",
        &format!(
            "[default]\naws_access_key_id = AKIADEFAULTDEFAULT00\naws_secret_access_key = not this one\n\n\
             [dumps]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
            scene.server.access_key(),
            scene.server.secret_key()
        ),
    );
    let output = scene.ls(&[
        (
            "AWS_SHARED_CREDENTIALS_FILE",
            file.to_str().expect("a path"),
        ),
        ("AWS_PROFILE", "dumps"),
    ]);
    scene.assert_listed(&output, None);
}

#[test]
fn a_web_identity_is_used() {
    let scene = Scene::new();
    let token = scene.file("token", "the-token-of-the-pod");
    let xml = scene.xml();
    let sts = Fake::start(move |asked: &Asked| {
        let granted = asked.body.contains("Action=AssumeRoleWithWebIdentity")
            && asked.body.contains("WebIdentityToken=the-token-of-the-pod")
            && asked.body.contains("role%2Fdumps");
        match granted {
            true => Answer::new(200, "text/xml", &xml),
            false => Answer::new(400, "text/xml", ""),
        }
    });
    let output = scene.ls(&[
        (
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            token.to_str().expect("a path"),
        ),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/dumps"),
        ("AWS_ENDPOINT_URL_STS", &sts.endpoint()),
    ]);
    scene.assert_listed(&output, Some(SESSION));
    assert_eq!(sts.asked().len(), 1);
}

#[test]
fn a_web_identity_that_is_refused_says_why() {
    let scene = Scene::new();
    let token = scene.file("token", "the-token-of-the-pod");
    let sts = Fake::start(|_: &Asked| {
        let refusal = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>\
            <Message>Not authorized to perform sts:AssumeRoleWithWebIdentity</Message></Error></ErrorResponse>";
        Answer::new(403, "text/xml", refusal)
    });
    let output = scene.ls(&[
        (
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            token.to_str().expect("a path"),
        ),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/dumps"),
        ("AWS_ENDPOINT_URL_STS", &sts.endpoint()),
    ]);
    let remedies = [
        "no accepted credentials",
        "Not authorized to perform sts:AssumeRoleWithWebIdentity",
    ];
    scene.assert_failed(&output, &remedies);
    assert!(!shown(&output).contains("the-token-of-the-pod"));
}

#[test]
fn a_pod_identity_is_used() {
    let scene = Scene::new();
    let token = scene.file("token", "the-token-of-the-pod");
    let json = scene.json();
    let agent = Fake::start(move |asked: &Asked| {
        let granted = asked.target == "/v1/credentials"
            && asked.header("authorization") == Some("the-token-of-the-pod");
        match granted {
            true => Answer::new(200, "application/json", &json),
            false => Answer::new(404, "application/json", "{}"),
        }
    });
    let uri = format!("{}/v1/credentials", agent.endpoint());
    let output = scene.ls(&[
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &uri),
        (
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            token.to_str().expect("a path"),
        ),
    ]);
    scene.assert_listed(&output, Some(SESSION));
}

#[test]
fn an_instance_role_is_used() {
    const ROLES: &str = "/latest/meta-data/iam/security-credentials";
    let scene = Scene::new();
    let json = scene.json();
    let metadata = Fake::start(move |asked: &Asked| {
        if asked.method == "PUT" && asked.target == "/latest/api/token" {
            return Answer::new(200, "text/plain", "the-token-of-the-session")
                .with("x-aws-ec2-metadata-token-ttl-seconds", "21600");
        }
        if asked.header("x-aws-ec2-metadata-token") != Some("the-token-of-the-session") {
            return Answer::new(401, "text/plain", "");
        }
        match asked.target.strip_prefix(ROLES) {
            Some("/dumps") => Answer::new(200, "application/json", &json),
            Some("" | "/") => Answer::new(200, "text/plain", "dumps"),
            _ => Answer::new(404, "text/plain", ""),
        }
    });
    let output = scene.ls(&[
        ("AWS_EC2_METADATA_DISABLED", "false"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &metadata.endpoint()),
    ]);
    scene.assert_listed(&output, Some(SESSION));
}

#[test]
fn without_credentials_it_says_what_to_set() {
    let scene = Scene::new();
    let output = scene.ls(&[]);
    let remedies = [
        "AWS_ACCESS_KEY_ID",
        "AWS_PROFILE",
        "web identity or pod identity",
        "instance role",
    ];
    scene.assert_failed(&output, &remedies);
}

#[test]
fn a_source_of_credentials_that_is_not_there_is_no_lack_of_them() {
    let scene = Scene::new();
    let token = scene.file("token", "the-token-of-the-pod");
    let output = scene.ls(&[
        (
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            token.to_str().expect("a path"),
        ),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/dumps"),
        ("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1"),
    ]);
    scene.assert_failed(&output, &["the source of credentials cannot be reached"]);
}

#[test]
fn an_endpoint_of_the_environment_is_used_by_path() {
    let scene = Scene::new();
    let output = Command::new(SALVAGE)
        .args(["ls", "-o", "json", "--store"])
        .arg(format!("s3://{}", scene.server.bucket()))
        .stdin(Stdio::null())
        .env_clear()
        .env("HOME", scene.directory.path())
        .envs(scene.server.aws_env())
        .env("AWS_ENDPOINT_URL_S3", scene.server.endpoint())
        .output()
        .expect("runs");
    scene.assert_listed(&output, None);
}
