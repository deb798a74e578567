{{- define "roo-vision.defaults" -}}
ROO_API_KEYS_FILE: /mnt/secrets/api-keys
ROO_AUTH: keys
{{- if .Values.gpu }}
ROO_DEVICE: cuda
{{- else }}
ROO_DEVICE: cpu
{{- end }}
ROO_DRAIN_DELAY: "5"
ROO_ENVIRONMENT: production
{{- if .Values.spot }}
ROO_GRACE_PERIOD: "18"
{{- else }}
ROO_GRACE_PERIOD: "45"
{{- end }}
{{- if .Values.gpu }}
ROO_MAX_DECODE_BYTES: "2147483648"
ROO_MAX_INFLIGHT_BYTES: "1073741824"
{{- else }}
ROO_MAX_INFLIGHT_BYTES: "134217728"
{{- end }}
ROO_METRICS_OPEN: "true"
ROO_QUEUE: "{{ .Values.azure.queue }}"
{{- if .Values.gpu }}
ROO_QUEUE_HELD: "128"
{{- end }}
ROO_REPLY_TO: "{{ .Values.azure.resultsQueue }}"
ROO_RESULTS_QUEUE: "{{ .Values.azure.resultsQueue }}"
ROO_SERVICEBUS_NAMESPACE: "{{ .Values.azure.serviceBusNamespace }}.servicebus.windows.net"
{{- end }}
