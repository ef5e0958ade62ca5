{{/*
The agent's configuration: what the chart knows, and `config` merged over it. The kubelet's volumes are a source with either kind of injection: `helm test` and pods that carry
the volume themselves use it, and so do pods from before a change to hostPath.
*/}}
{{- define "salvage.config" -}}
{{- include "salvage.refuse" . -}}
{{- include "salvage.composed" . -}}
{{- end -}}

{{- define "salvage.composed" -}}
{{- $store := dict "url" .Values.store.url -}}
{{- with .Values.store.region }}{{ $_ := set $store "region" . }}{{ end -}}
{{- with .Values.store.endpoint }}{{ $_ := set $store "endpoint" . }}{{ end -}}
{{- if kindIs "bool" .Values.store.pathStyle }}{{ $_ := set $store "path_style" .Values.store.pathStyle }}{{ end -}}
{{- $sources := list (dict "kubelet_volumes" (dict "volume" "salvage-dumps")) -}}
{{- if eq .Values.injection.volume "hostPath" -}}
{{- $sources = append $sources (dict "path" .Values.injection.hostPath "layout" "{namespace}/{pod}/{uid}/{container}" "managed" true) -}}
{{- end -}}
{{- $config := dict
    "cluster" .Values.cluster
    "state_dir" .Values.stateDir
    "listen" (printf "%s:9464" .Values.listenAddress)
    "sources" (concat $sources .Values.sources)
    "store" $store
    "shutdown" (dict "grace_period" (printf "%ds" (sub (int .Values.terminationGracePeriodSeconds) 10)))
    "kubernetes" (dict "enabled" true) -}}
{{- if .Values.captures.enabled }}{{ $_ := set $config "captures" (dict "enabled" true) }}{{ end -}}
{{- mustMergeOverwrite $config (deepCopy .Values.config) | toYaml -}}
{{- end -}}

{{/* The combinations that cannot work, each with what to do instead. What is wrong in one value alone, values.schema.json and the agent say. */}}
{{- define "salvage.refuse" -}}
{{- $v := .Values -}}
{{- $missing := list -}}
{{- if not $v.cluster }}{{ $missing = append $missing "--set cluster=NAME" }}{{ end -}}
{{- if not $v.store.url }}{{ $missing = append $missing "--set store.url=s3://BUCKET/PREFIX" }}{{ end -}}
{{- with $missing }}{{ fail (printf "salvage needs to know %s: add %s" (ternary "where it runs and where to store crashes" "one thing more" (eq (len .) 2)) (join " " .)) }}{{ end -}}

{{- $keys := $v.store.credentials -}}
{{- if and $keys.existingSecret (or $keys.accessKeyId $keys.secretAccessKey) -}}
{{- fail "store.credentials: existingSecret and accessKeyId/secretAccessKey exclude each other; keep one of them" -}}
{{- end -}}
{{- if ne (empty $keys.accessKeyId) (empty $keys.secretAccessKey) -}}
{{- fail "store.credentials: accessKeyId and secretAccessKey are needed together" -}}
{{- end -}}
{{- if and $v.store.volume (not (hasPrefix "file:///" $v.store.url)) -}}
{{- fail "store.volume is for a store.url that begins with file:///; remove one of them" -}}
{{- end -}}
{{- if and $v.openshift.enabled $v.injection.enabled (eq $v.injection.volume "hostPath") -}}
{{- fail "injection.volume: OpenShift refuses pods with a hostPath; keep emptyDir" -}}
{{- end -}}
{{- if and (not $v.serviceAccount.create) (not $v.serviceAccount.name) -}}
{{- fail "serviceAccount.create=false needs serviceAccount.name; the account `default` would give the agent's rights to every pod of the namespace" -}}
{{- end -}}
{{- if and $v.injection.sizeLimit (eq $v.injection.volume "hostPath") -}}
{{- fail "injection.sizeLimit bounds an emptyDir, and injection.volume is hostPath; the agent's config.spool bounds what is held there" -}}
{{- end -}}
{{- $captures := default dict $v.config.captures -}}
{{- if and (hasKey $captures "enabled") (ne (toString $captures.enabled) (toString $v.captures.enabled)) -}}
{{- fail (printf "config.captures.enabled: leave it out and use --set captures.enabled=%v, which gives the agent what captures need as well" $captures.enabled) -}}
{{- end -}}

{{- $config := include "salvage.composed" . | fromYaml -}}
{{- if and $v.captures.enabled (not $config.kubernetes.enabled) -}}
{{- fail "captures.enabled: captures are asked for by objects of Kubernetes; config.kubernetes.enabled=false has no use for it" -}}
{{- end -}}
{{- $places := list -}}
{{- range $config.sources }}{{ $places = append $places (default (default dict .kubelet_volumes).volume .path) }}{{ end -}}
{{- if ne (len $places) (len (uniq $places)) -}}
{{- fail (printf "sources: a place is named twice (%s); the volume salvage-dumps, and with injection.volume=hostPath its directory, are sources already" (join ", " $places)) -}}
{{- end -}}
{{- $grace := toString $config.shutdown.grace_period | replace " " "" -}}
{{- $seconds := dict "ms" 0 "s" 1 "m" 60 "h" 3600 "d" 86400 -}}
{{- $unit := regexFind "[a-z]+$" $grace -}}
{{- if ge (mul (int (regexFind "^[0-9]+" $grace)) (int (get $seconds $unit))) (int $v.terminationGracePeriodSeconds) -}}
{{- fail (printf "config.shutdown.grace_period (%s) must be less than terminationGracePeriodSeconds (%d), or the kubelet kills the agent before it is done" $grace (int $v.terminationGracePeriodSeconds)) -}}
{{- end -}}

{{/* Only a cluster that was asked lists kinds; `helm template` without one lists groups, of which nothing follows. */}}
{{- $api := .Capabilities.APIVersions -}}
{{- if $api.Has "v1/Pod" -}}
{{- if $v.injection.enabled -}}
{{- $wanted := printf "admissionregistration.k8s.io/%s" $v.injection.apiVersion -}}
{{- if not ($api.Has (printf "%s/MutatingAdmissionPolicy" $wanted)) -}}
{{- $remedy := "--set injection.enabled=false, and give the volume and the environment to your pods as docs/dumps.md shows" -}}
{{- range $other := list "v1" "v1beta1" -}}
{{- if $api.Has (printf "admissionregistration.k8s.io/%s/MutatingAdmissionPolicy" $other) }}{{ $remedy = printf "--set injection.apiVersion=%s" $other }}{{ end -}}
{{- end -}}
{{- fail (printf "this cluster (%s) has no MutatingAdmissionPolicy in %s; use %s" .Capabilities.KubeVersion.Version $wanted $remedy) -}}
{{- end -}}
{{- end -}}
{{- if $v.monitoring.enabled -}}
{{- if and (ne $v.monitoring.monitor.kind "none") (not ($api.Has (printf "monitoring.coreos.com/v1/%s" $v.monitoring.monitor.kind))) -}}
{{- fail (printf "this cluster has no %s (monitoring.coreos.com/v1); install the Prometheus operator, or use --set monitoring.monitor.kind=none and scrape as docs/install.md shows" $v.monitoring.monitor.kind) -}}
{{- end -}}
{{- if and $v.monitoring.rules.enabled (not ($api.Has "monitoring.coreos.com/v1/PrometheusRule")) -}}
{{- fail "this cluster has no PrometheusRule (monitoring.coreos.com/v1); install the Prometheus operator, or use --set monitoring.rules.enabled=false and load dashboards/alerts.yaml yourself" -}}
{{- end -}}
{{- end -}}
{{- if and $v.openshift.enabled (not ($api.Has "security.openshift.io/v1/SecurityContextConstraints")) -}}
{{- fail "this cluster is no OpenShift (it has no SecurityContextConstraints); use --set openshift.enabled=false" -}}
{{- end -}}
{{- end -}}
{{- end -}}
