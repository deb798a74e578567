{{/* Written by hand; what uses it is made by `make chart`. */}}
{{- define "roo-vision.image" -}}
{{- $image := (index . 0).Values.image }}
{{- if $image.digest }}{{ $image.repository }}@{{ $image.digest }}
{{- else }}{{ $image.repository }}:{{ $image.tag | default (index . 1) }}
{{- end }}
{{- end }}

{{- define "roo-vision.settings" -}}
{{- toYaml (mergeOverwrite (include "roo-vision.defaults" . | fromYaml) .Values.settings) }}
{{- end }}

{{/* kustomize's own digest, so that a change of a setting rolls the pods. */}}
{{- define "roo-vision.settingsName" -}}
{{- $content := dict "data" (include "roo-vision.settings" . | fromYaml) "kind" "ConfigMap" "name" "" }}
{{- $digest := $content | toJson | sha256sum | trunc 10 }}
{{- range $from, $to := dict "0" "g" "1" "h" "3" "k" "a" "m" "e" "t" }}
{{- $digest = replace $from $to $digest }}
{{- end }}
{{- print "settings-" $digest }}
{{- end }}
