{{- define "region.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "region.labels" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
frontdoor/region: {{ .Values.region }}
{{- end }}

{{- define "region.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "region.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "region.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: ["ALL"] }
{{- end }}

{{- define "region.nats" -}}
[nats]
url = {{ printf "tls://%s-nats:4222" (include "region.name" .root) | toJson }}
nkey_file = "/etc/frontdoor/nats/{{ .user }}.nk"
tls = { ca = "/etc/frontdoor/nats/ca.crt" }
{{- end }}

{{- define "region.natsVolume" -}}
- name: nats
  projected:
    defaultMode: 0440
    sources:
      - secret: { name: {{ .root.Values.natsSecret }}, items: [{ key: {{ .user }}.nk, path: {{ .user }}.nk }] }
      - secret: { name: {{ .root.Values.nats.tlsSecret }}, items: [{ key: ca.crt, path: ca.crt }] }
{{- end }}
