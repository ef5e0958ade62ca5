{{- define "salvage.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The release's name alone where it says what this is, so that `ds/salvage` is what one types. Short enough for the longest suffix. */}}
{{- define "salvage.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "salvage.selector" -}}
app.kubernetes.io/name: {{ include "salvage.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: agent
{{- end -}}

{{/* Without a component: these stand on every object, and a pod that is no agent must not be taken for one. */}}
{{- define "salvage.labels" -}}
app.kubernetes.io/name: {{ include "salvage.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "salvage.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "salvage.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "salvage.image" -}}
{{- $tag := default .Chart.AppVersion .Values.image.tag -}}
{{- printf "%s:%s" .Values.image.repository $tag -}}{{ with .Values.image.digest }}@{{ . }}{{ end -}}
{{- end -}}

{{/* The Secret with the store's static keys; empty where there are none. */}}
{{- define "salvage.credentials" -}}
{{- with .Values.store.credentials -}}
{{- if .existingSecret -}}{{ .existingSecret }}{{- else if .accessKeyId -}}{{ include "salvage.fullname" $ }}-store{{- end -}}
{{- end -}}
{{- end -}}

{{/* The agent's capabilities; security.md says what each is for. */}}
{{- define "salvage.capabilities" -}}
DAC_READ_SEARCH, DAC_OVERRIDE, FOWNER, LEASE{{ if .Values.captures.enabled }}, SYS_PTRACE{{ end }}
{{- end -}}

{{/* On OpenShift no other type reaches the dumps of containers. */}}
{{- define "salvage.seLinuxOptions" -}}
{{- $options := .Values.seLinuxOptions -}}
{{- if and .Values.openshift.enabled (not $options) }}{{ $options = dict "type" "spc_t" }}{{ end -}}
{{- with $options }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{/* Labels of one's own beside those of the chart, which win: they are what selectors look for. */}}
{{- define "salvage.withLabels" -}}
{{- mustMergeOverwrite (deepCopy .own) (fromYaml .chart) | toYaml -}}
{{- end -}}

{{- define "salvage.priorityClass" -}}
{{- if .Values.priorityClass.create -}}
{{- default (include "salvage.fullname" .) .Values.priorityClass.name -}}
{{- else -}}
{{- .Values.priorityClass.name -}}
{{- end -}}
{{- end -}}
