#!/bin/sh
# Runs the command it is given, with secrets from files and with the logs that are asked for.
# Exit status 78: a setting is wrong, in one line on stderr.
set -eu

wrong() {
	echo "pos3: cannot start: $*" >&2
	exit 78
}

# NAME_FILE=path is as good as NAME=content; secrets that are mounted as files never show in `docker inspect`.
for name in PREFECT_API_KEY PREFECT_API_AUTH_STRING AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN; do
	eval "file=\${${name}_FILE:-}"
	[ -n "$file" ] || continue
	eval "given=\${${name}:-}"
	[ -z "$given" ] || wrong "$name and ${name}_FILE are both set; keep one of them"
	[ -f "$file" ] && [ -r "$file" ] || wrong "${name}_FILE='$file' cannot be read by user $(id -u); is it mounted?"
	content=$(cat "$file")
	[ -n "$content" ] || wrong "${name}_FILE='$file' is empty"
	export "$name=$content"
	unset "${name}_FILE"
done

level=$(printf %s "${POS3_LOG_LEVEL:-${PREFECT_LOGGING_LEVEL:-INFO}}" | tr '[:lower:]' '[:upper:]')
case $level in
DEBUG | INFO | WARNING | ERROR | CRITICAL) export PREFECT_LOGGING_LEVEL="$level" ;;
*) wrong "POS3_LOG_LEVEL='$level': expected DEBUG, INFO, WARNING, ERROR or CRITICAL" ;;
esac

case ${POS3_LOG_FORMAT:-text} in
text) ;;
json)
	export PREFECT_LOGGING_COLORS=false PREFECT_LOGGING_HANDLERS_CONSOLE_FORMATTER=json
	export PREFECT_LOGGING_FORMATTERS_JSON_CLASS=pos3.cli.json_logs.JsonFormatter
	;;
*) wrong "POS3_LOG_FORMAT='$POS3_LOG_FORMAT': expected text or json" ;;
esac

[ $# -gt 0 ] || wrong "no command is given; the image's own is 'python -m pos3.orchestration.worker'"
exec "$@"
