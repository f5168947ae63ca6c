# SPDX-License-Identifier: Apache-2.0
# bash completion of Weft's programs. Verbs and options are read from the program's own --help, so this file cannot
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
	--transport) COMPREPLY=($(compgen -W 'direct vxlan geneve auto wireguard' -- "$2")) ;;
	--family) COMPREPLY=($(compgen -W 'dual ipv4 ipv6' -- "$2")) ;;
	-o | --output) COMPREPLY=($(compgen -W 'json' -- "$2")) ;;
	--verdict) COMPREPLY=($(compgen -W 'denied dropped forwarded audit' -- "$2")) ;;
	--kind) COMPREPLY=($(compgen -W 'drop new closed changed audit' -- "$2")) ;;
	--protocol) COMPREPLY=($(compgen -W 'TCP UDP SCTP ICMP ICMPv6' -- "$2")) ;;
	--name) COMPREPLY=($(compgen -W "$(ls /run/weft-lab 2>/dev/null)" -- "$2")) ;;
	--set)
		COMPREPLY=($(compgen -W "$(__weft_option_names)" -- "$2"))
		compopt -o nospace 2>/dev/null
		;;
	--config | --socket) COMPREPLY=($(compgen -f -- "$2")) ;;
	--data | --state-dir | --run-dir) COMPREPLY=($(compgen -d -- "$2")) ;;
	--nodes | --mtu | --subnets | --zones | --listen | --listen-fd | --ready-fd | --tls-san | --*-cidr | --node-cidr-mask-size-* | \
		--server | --user | --group | --workers | --metrics | --disable | \
		--pod | --from | --to | --port | --reason | --last | --since | --source-port | --bytes) COMPREPLY=() ;;
	*) return 1 ;;
	esac
	return 0 # also when nothing matches
}

_weft() {
	local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} i
	local -a command=("${COMP_WORDS[0]}") words=()

	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--) return ;; # what follows is a command of the user's
		-*) __weft_values "${COMP_WORDS[i]}" '' && ((i++)) ;;
		*) words+=("${COMP_WORDS[i]}") ;;
		esac
	done
	COMPREPLY=()
	if [[ ${command[0]##*/} == weft && ${#words[@]} -gt 0 && $(__weft_verbs "${command[0]}") == *"${words[0]}"* ]]; then
		command+=("${words[0]}")
		words=("${words[@]:1}")
	fi
	__weft_values "$previous" "$current" && return
	if [[ $current == -* ]]; then
		COMPREPLY=($(compgen -W "$(__weft_options "${command[@]}")" -- "$current"))
	elif [[ ${#words[@]} -eq 0 ]]; then
		COMPREPLY=($(compgen -W "$(__weft_verbs "${command[@]}" | cut -d' ' -f1 | sort -u)" -- "$current"))
	else
		COMPREPLY=($(compgen -W "$(__weft_verbs "${command[@]}" | sed -n "s/^${words[0]//[^a-z]/} //p")" -- "$current"))
	fi
}

complete -F _weft weft weftd weft-hub weft-wg weft-echo
