{{/*
What every container is given, as a list: `name` and either `value` or `field` (of the pod). Not where the container has a variable of that name, or of the name in `twin`:
of one setting's two prefixes a pod sets one. With `options` not where the container has `envFrom` either: what comes from there is not seen here, and a variable of the pod's wins over it,
so the application would lose its own options.
*/}}
{{- define "salvage.injection.env" -}}
{{- $env := list -}}
{{- if eq .Values.injection.volume "hostPath" -}}
{{- $env = append $env (dict "name" "SALVAGE_NAMESPACE" "field" "metadata.namespace") -}}
{{- $env = append $env (dict "name" "SALVAGE_POD" "field" "metadata.name") -}}
{{- $env = append $env (dict "name" "SALVAGE_POD_UID" "field" "metadata.uid") -}}
{{- end -}}
{{- range .Values.injection.runtimes -}}
{{- if eq . "dotnet" -}}
{{- /* 3.1 and 5 read COMPlus_ only, and 3.1 knows no other token than %d. Where both are set, DOTNET_ wins. */ -}}
{{- $settings := list
      (list "DbgEnableMiniDump" "1" "1")
      (list "DbgMiniDumpType" (toString $.Values.injection.dotnet.dumpType) (toString $.Values.injection.dotnet.dumpType))
      (list "DbgMiniDumpName" "/var/salvage/%h.%e.%p.%t.dmp" "/var/salvage/core.%d")
      (list "EnableCrashReport" "1" "1") -}}
{{- range $settings -}}
{{- $new := printf "DOTNET_%s" (first .) -}}
{{- $old := printf "COMPlus_%s" (first .) -}}
{{- $env = append $env (dict "name" $new "twin" $old "value" (index . 1)) -}}
{{- $env = append $env (dict "name" $old "twin" $new "value" (index . 2)) -}}
{{- end -}}
{{- else if eq . "java" -}}
{{- $env = append $env (dict "name" "JAVA_TOOL_OPTIONS" "options" true "value" "-XX:+HeapDumpOnOutOfMemoryError -XX:HeapDumpPath=/var/salvage -XX:ErrorFile=/var/salvage/hs_err_pid%p.log") -}}
{{- else if eq . "node" -}}
{{- /* Flags that every Node since 14 takes in NODE_OPTIONS: one that does not know a flag there does not start (--report-exclude-env is one of 22.13 and 23.3). */ -}}
{{- $env = append $env (dict "name" "NODE_OPTIONS" "options" true "value" (printf "--report-on-fatalerror --report-uncaught-exception --report-directory=/var/salvage%s" (ternary " --report-exclude-network" "" $.Values.injection.node.excludeNetwork))) -}}
{{- end -}}
{{- end -}}
{{- toYaml $env -}}
{{- end -}}

{{/*
The operations for one list of containers (`of`: containers or initContainers), in order: a list that is missing, then what goes into it. A name's place is looked up among
all containers of the pod's list, since those that are left alone keep theirs.
*/}}
{{- define "salvage.injection.patch" -}}
{{- $of := .of -}}
{{- $at := printf "\"/spec/%s/\" + string(variables.%sNames.indexOf(c.name)) + " $of (trimSuffix "s" $of) -}}
{{- $env := include "salvage.injection.env" .root | fromYamlArray -}}
{{- if $env }}
variables.{{ $of }}.filter(c, !has(c.env)).map(c,
  JSONPatch{op: "add", path: {{ $at }}"/env", value: []})
+ {{ end -}}
{{- range $env -}}
variables.{{ $of }}.filter(c, {{ if .options }}!has(c.envFrom) && {{ end }}(!has(c.env) || !c.env.exists(e, e.name == "{{ .name }}"{{ with .twin }} || e.name == "{{ . }}"{{ end }}))).map(c,
  JSONPatch{op: "add", path: {{ $at }}"/env/-", value: Object.spec.{{ $of }}.env{
{{- if .field }}name: "{{ .name }}", valueFrom: Object.spec.{{ $of }}.env.valueFrom{fieldRef: Object.spec.{{ $of }}.env.valueFrom.fieldRef{fieldPath: "{{ .field }}"}}
{{- else }}name: "{{ .name }}", value: "{{ .value }}"{{ end }}}})
+ {{ end -}}
variables.{{ $of }}.filter(c, !has(c.volumeMounts)).map(c,
  JSONPatch{op: "add", path: {{ $at }}"/volumeMounts", value: []})
+ variables.{{ $of }}.map(c,
  JSONPatch{op: "add", path: {{ $at }}"/volumeMounts/-", value: Object.spec.{{ $of }}.volumeMounts{name: "salvage-dumps", mountPath: "/var/salvage",
{{- if eq .root.Values.injection.volume "hostPath" }} subPathExpr: "$(SALVAGE_NAMESPACE)/$(SALVAGE_POD)/$(SALVAGE_POD_UID)/" + c.name{{ else }} subPath: c.name{{ end }}}})
{{- end -}}
