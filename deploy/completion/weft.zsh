#compdef weft weftd weft-hub weft-wg weft-echo
# SPDX-License-Identifier: Apache-2.0
# zsh completion of Weft's programs. Verbs and options are read from the program's own --help, so this file cannot
# miss one; only values are named here.

# The verbs of "weft" or "weft lab": what its help lists, a word or two each
__weft_verbs() {
	case $1 in
	weft | */weft) "$@" --help 2>/dev/null | sed -nE 's/^  ([a-z][a-z]*( [a-z]+)?)( .*)?$/\1/p' ;;
	weft-hub | */weft-hub) echo kubeconfig ;;
	esac
}

__weft_options() {
	"$@" --help 2>/dev/null | grep -oE -- '(^|[^[:alnum:]-])--?[a-z][a-z0-9-]*' | grep -oE -- '-.*' | sort -u
}

__weft_option_names() {
	weftd --print-options 2>/dev/null | sed -nE 's/^\| `([^`]+)` .*/\1=/p'
}

# Values after the option $1. Return: whether that option has any.
__weft_values() {
	case $1 in
	--transport) compadd direct vxlan geneve auto wireguard ;;
	--family) compadd dual ipv4 ipv6 ;;
	-o | --output) compadd json ;;
	--verdict) compadd denied dropped forwarded audit ;;
	--kind) compadd drop new closed changed audit ;;
	--protocol) compadd TCP UDP SCTP ICMP ICMPv6 ;;
	--name) compadd -- /run/weft-lab/*(N:t) ;;
	--set) compadd -S '' -- $(__weft_option_names) ;;
	--config | --socket) _files ;;
	--data | --state-dir | --run-dir) _files -/ ;;
	--nodes | --mtu | --subnets | --zones | --listen | --listen-fd | --ready-fd | --tls-san | --*-cidr | --node-cidr-mask-size-* | \
		--server | --user | --group | --workers | --metrics | --disable | \
		--pod | --from | --to | --port | --reason | --last | --since | --source-port | --bytes) ;;
	*) return 1 ;;
	esac
	return 0
}

_weft() {
	local -a cmd rest
	local i

	cmd=(${words[1]})
	for (( i = 2; i < CURRENT; i++ )); do
		case ${words[i]} in
		--) return ;; # what follows is a command of the user's
		-*) (compadd() { :; }; _files() { :; }; __weft_values ${words[i]}) && (( i++ )) ;;
		*) rest+=(${words[i]}) ;;
		esac
	done
	if [[ ${cmd[1]:t} == weft && ${#rest} -gt 0 && -n ${(M)${(f)"$(__weft_verbs $cmd)"}:#${rest[1]}*} ]]; then
		cmd+=(${rest[1]})
		shift rest
	fi
	__weft_values ${words[CURRENT-1]} && return
	if [[ ${words[CURRENT]} == -* ]]; then
		compadd -- $(__weft_options $cmd)
	elif (( ${#rest} == 0 )); then
		compadd -- ${${(f)"$(__weft_verbs $cmd)"}%% *}
	else
		compadd -- ${${(M)${(f)"$(__weft_verbs $cmd)"}:#${rest[1]} *}#* }
	fi
}

_weft "$@"
