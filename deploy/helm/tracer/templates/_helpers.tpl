{{- define "tracer.selector" -}}
app.kubernetes.io/name: tracer
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "tracer.labels" -}}
{{ include "tracer.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: tracer
{{- end }}

{{- define "tracer.viewerSelector" -}}
app.kubernetes.io/name: tracer-viewer
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "tracer.viewerLabels" -}}
{{ include "tracer.viewerSelector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: tracer
{{- end }}

{{- /* A tag that somebody sets is what they want, and not the digest that a released chart brings. */}}
{{- define "tracer.image" -}}
{{- with .Values.image -}}
{{- if or .tag (not .digest) -}}
{{ printf "%s:%s" .repository (.tag | default $.Chart.AppVersion) | quote }}
{{- else -}}
{{ printf "%s:%s@%s" .repository $.Chart.AppVersion .digest | quote }}
{{- end -}}
{{- end -}}
{{- end }}
