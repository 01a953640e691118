# Converts the sections of a UCI file, those of OpenWrt's mosquitto package, to footbridge.conf(5) on
# standard output; what is wrong goes to footbridge_warn. For the ash of busybox, after
# /lib/functions.sh and config_load. Writes no file.

footbridge_warn() {
	echo "footbridge: $*" >&2
	logger -t footbridge -p daemon.warn "$*" 2>/dev/null
	return 0
}

# line SECTION OPTION [DIRECTIVE]: the option, if it has a value.
footbridge_line() {
	local value
	config_get value "$1" "$2"
	[ -z "$value" ] || printf '%s %s\n' "${3:-$2}" "$value"
}

# The same for an option that is yes or no in one of UCI's words.
footbridge_bool() {
	local value
	config_get value "$1" "$2"
	[ -n "$value" ] || return 0
	config_get_bool value "$1" "$2" 0
	if [ "$value" = 1 ]; then value=true; else value=false; fi
	printf '%s %s\n' "${3:-$2}" "$value"
}

# FUNCTION SECTION OPTION[=DIRECTIVE]...: the function for each of them.
footbridge_each() {
	local call="$1" section="$2" pair
	shift 2
	for pair; do
		"$call" "$section" "${pair%%=*}" "${pair#*=}"
	done
}

footbridge_item() {
	printf '%s %s\n' "$2" "$1"
}

# SECTION OPTION DIRECTIVE: a line for each item of a list, with the spaces in it. An option is split
# at spaces, as mosquitto's package does, but for a path behind `file`.
footbridge_list() {
	local length value word
	config_get length "$1" "$2_LENGTH"
	if [ -n "$length" ]; then
		config_list_foreach "$1" "$2" footbridge_item "$3"
		return
	fi
	config_get value "$1" "$2"
	case "$value" in
	"file "*) footbridge_item "$value" "$3" ;;
	*)
		for word in $value; do
			footbridge_item "$word" "$3"
		done
		;;
	esac
}

# Lines of footbridge.conf(5) as they are: for each section `list directive`.
footbridge_verbatim() {
	[ -z "$1" ] || printf '%s\n' "$1"
}

footbridge_general() {
	local section="$1" no_remote user
	footbridge_list "$section" log_dest log_dest
	footbridge_list "$section" log_types log_type
	config_get_bool no_remote "$section" no_remote_access 0
	[ "$no_remote" != 1 ] || echo "bind_address localhost"
	footbridge_each footbridge_line "$section" port acl_file clientid_prefixes include_dir \
		log_facility max_inflight_bytes max_inflight_messages max_queued_bytes \
		max_queued_messages message_size_limit password_file pid_file psk_file protocol \
		sys_interval commit_interval flash_budget max_packet_size
	footbridge_each footbridge_bool "$section" allow_anonymous allow_duplicate_messages \
		connection_messages log_timestamp queue_qos0_messages set_tcp_nodelay \
		upgrade_outgoing_qos per_listener_settings
	config_get user "$section" user
	case "$user" in
	'' | mosquitto) ;;
	*) printf 'user %s\n' "$user" ;;
	esac
	config_list_foreach "$section" directive footbridge_verbatim
}

footbridge_persistence() {
	footbridge_each footbridge_line "$1" client_expiration=persistent_client_expiration \
		autosave_interval file=persistence_file store_clean_interval location=persistence_location
	footbridge_each footbridge_bool "$1" autosave_on_changes persistence
	config_list_foreach "$1" directive footbridge_verbatim
}

footbridge_listener() {
	local section="$1" port no_remote
	config_get port "$section" port
	if [ -z "$port" ]; then
		footbridge_warn "a listener without port is left out"
		return 0
	fi
	config_get_bool no_remote "$section" no_remote_access 0
	if [ "$no_remote" = 1 ]; then port="$port 127.0.0.1"; fi
	printf '\nlistener %s\n' "$port"
	footbridge_each footbridge_line "$section" http_dir max_connections mount_point protocol \
		websockets_log_level cafile capath certfile ciphers crlfile keyfile tls_version psk_hint \
		auth_plugin
	footbridge_each footbridge_bool "$section" use_username_as_clientid require_certificate \
		use_identity_as_username use_subject_as_username status_page
	config_list_foreach "$section" directive footbridge_verbatim
}

footbridge_bridge() {
	local section="$1" name address topics
	config_get name "$section" connection
	config_get address "$section" address
	config_get topics "$section" topic_LENGTH
	if [ -z "$name" ] || [ -z "$address" ]; then
		footbridge_warn "a bridge without connection or address is left out"
		return 0
	fi
	if [ -z "$topics" ]; then
		footbridge_warn "bridge $name has no \`list topic\` and is left out"
		return 0
	fi
	printf '\nconnection %s\naddress %s\n' "$name" "$address"
	config_list_foreach "$section" topic footbridge_item topic
	# The old names of three come first: where both are given, the last one holds.
	footbridge_each footbridge_newest "$section" remote_clientid=clientid \
		remote_password=password remote_username=username
	footbridge_each footbridge_line "$section" protocol_version=bridge_protocol_version \
		keepalive_interval idle_timeout local_clientid local_password local_username \
		notification_topic restart_timeout start_type threshold cafile=bridge_cafile \
		capath=bridge_capath certfile=bridge_certfile identity=bridge_identity \
		keyfile=bridge_keyfile psk=bridge_psk tls_version=bridge_tls_version
	footbridge_each footbridge_bool "$section" \
		attempt_unsubscribe=bridge_attempt_unsubscribe cleansession notifications \
		notifications_local_only round_robin try_private insecure=bridge_insecure
	config_list_foreach "$section" directive footbridge_verbatim
}

# SECTION OPTION OLD: the option, or what it was called once.
footbridge_newest() {
	local value
	config_get value "$1" "$2"
	[ -n "$value" ] || config_get value "$1" "$3"
	[ -z "$value" ] || printf '%s %s\n' "$2" "$value"
}

# What a router needs and the sections before do not say: see footbridge.conf of this package.
footbridge_profile() {
	local given="$1" line
	while read -r line; do
		case "
$given" in
		*"
${line%% *} "*) ;;
		*) printf '%s\n' "$line" ;;
		esac
	done <<-END
		user footbridge
		persistence true
		persistence_location /etc/footbridge/store
		commit_interval 1s
		flash_budget 200M/day
		max_queued_bytes 8M
		persistent_client_expiration 2w
		log_dest stderr
		log_timestamp false
	END
}

# Warns of what UCI reads otherwise than it looks, in the file $1.
footbridge_look_at() {
	local found
	found=$(grep -nE "^[[:space:]]*(list|option)[[:space:]]+[^[:space:]]+[[:space:]]+[^'\"[:space:]#][^'\"]*#" "$1" |
		grep -vE "^[0-9]+:[[:space:]]*[a-z]+[[:space:]]+[^[:space:]]+[[:space:]]+[^[:space:]#]+[[:space:]]+#" |
		sed 's/:.*//' | tr '\n' ' ')
	[ -z "$found" ] || footbridge_warn "$1: line ${found% }: # without quotes begins a comment," \
		"the rest of the line is lost; write it as 'sensors/#'"
	found=$(grep -nE "^[[:space:]]*((list|option)[[:space:]]+['\"]?[[:alnum:]_]*-|config[[:space:]]+[^[:space:]]+[[:space:]]+['\"]?[[:alnum:]_]*-)" "$1" |
		sed 's/:.*//' | tr '\n' ' ')
	[ -z "$found" ] || footbridge_warn "$1: line ${found% }: a dash in a name: nothing of the" \
		"file can be read; write _ instead"
}

# The configuration of the sections that config_load has read. It has no time in it, so that procd
# sees whether it has changed.
footbridge_convert() {
	local general
	general=$(
		config_foreach footbridge_general mosquitto
		config_foreach footbridge_persistence persistence
	)
	echo "# Made from /etc/config/footbridge; a change here is lost."
	[ -z "$general" ] || printf '%s\n' "$general"
	footbridge_profile "$general"
	config_foreach footbridge_listener listener
	config_foreach footbridge_bridge bridge
}
