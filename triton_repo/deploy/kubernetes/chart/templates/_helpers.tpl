{{- define "l2bt.labels" -}}
app.kubernetes.io/name: l2bt-edge
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}
{{- define "l2bt.follow" -}}
- l2bt
- follow
{{- if .Values.repository.s3 }}
- {{ .Values.repository.s3 | quote }}
{{- else }}
- {{ printf "/shared/%s" .Values.repository.path | quote }}
{{- end }}
- /models/repository
{{- with .Values.repository.s3Endpoint }}
- {{ printf "--s3-endpoint=%s" . | quote }}
{{- end }}
{{- with .Values.repository.s3Region }}
- {{ printf "--s3-region=%s" . | quote }}
{{- end }}
{{- end -}}
{{- define "l2bt.source" -}}
volumeMounts:
  - {name: models, mountPath: /models}
  {{- if not .Values.repository.s3 }}
  - {name: shared, mountPath: /shared, readOnly: true}
  {{- end }}
{{- with .Values.repository.s3Secret }}
envFrom:
  - secretRef: {name: {{ . | quote }}}
{{- end }}
{{- end -}}
{{- define "l2bt.ping" -}}
exec:
  command: [l2bt, ping, "127.0.0.1:8001", "--timeout-s=20"{{ with .Values.probeProduct }}, {{ printf "--product=%s" . | quote }}{{ end }}]
{{- end -}}
