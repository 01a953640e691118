# What of OpenWrt's /lib/functions.sh and procd the scripts of the package use, as far as the tests
# need it: a section is a line `TYPE NAME` of $SECTIONS; its options are variables, a list has a
# variable for each item and one for how many there are.
config_load() { return "${UCI_IS_BROKEN:-0}"; }
config_foreach() {
	[ "${UCI_IS_BROKEN:-0}" = 0 ] || return 0
	local call="$1" wanted="$2" type name all="$SECTIONS"
	while [ -n "$all" ]; do
		type="${all%%:*}" all="${all#*:}"
		name="${all%%:*}" all="${all#*:}"
		[ "$type" != "$wanted" ] || "$call" "$name"
	done
}
config_get() {
	eval "$1=\"\${UCI_$2_$3:-\$4}\""
}
config_get_bool() {
	local got
	config_get got "$2" "$3" "$4"
	case "$got" in
	1 | on | true | yes | enabled) got=1 ;;
	0 | off | false | no | disabled) got=0 ;;
	*) got="$4" ;;
	esac
	eval "$1=\$got"
}
config_list_foreach() {
	local section="$1" option="$2" call="$3" count i=1 item
	shift 3
	config_get count "$section" "${option}_LENGTH" 0
	while [ "$i" -le "$count" ]; do
		config_get item "$section" "${option}_ITEM$i"
		"$call" "$item" "$@"
		i=$((i + 1))
	done
}
procd_open_instance() { echo "open $*"; }
procd_close_instance() { echo close; }
procd_set_param() { echo "param $*"; }
procd_add_reload_trigger() { echo "trigger $*"; }
logger() { :; }
start() { start_service; }
