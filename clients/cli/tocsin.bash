# SPDX-License-Identifier: MIT
# Completion of tocsin for bash. It asks the program itself, so it is never out of date.

# The values in the brackets behind an option in its command's help.
_tocsin_values() {
    # shellcheck disable=SC2086 # a group and its command are two words
    "$1" $2 --help 2>/dev/null | awk -v option="$3" '$1 == option && match($0, /\[[a-z_0-9|]+\]$/) {
        values = substr($0, RSTART + 1, RLENGTH - 2); gsub(/\|/, " ", values); print values }'
}

_tocsin() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} choices
    local program=${COMP_WORDS[0]} command=${COMP_WORDS[1]}

    # A group, such as dlq, is followed by a second word.
    if ((COMP_CWORD > 2)) && "$program" --help | grep -q "^  $command ${COMP_WORDS[2]} "; then
        command+=" ${COMP_WORDS[2]}"
    fi
    if ((COMP_CWORD == 1)); then
        choices=$("$program" --help | awk '/^  [a-z]/ { print $1 }' | sort -u)
    elif [[ $previous == --*file || $previous == --stack || $previous == --spool ]]; then
        COMPREPLY=($(compgen -f -- "$current"))
        return
    elif [[ $previous == --* ]] && choices=$(_tocsin_values "$program" "$command" "$previous") &&
        [[ -n $choices ]]; then
        : # the only values that the option takes
    elif [[ $current == -* ]]; then
        # shellcheck disable=SC2086 # a group and its command are two words
        choices=$("$program" $command --help 2>/dev/null | awk '/^  --/ { print $1 }')
    elif ((COMP_CWORD == 2)); then
        choices=$("$program" --help | awk -v group="$command" '/^  [a-z]/ && $1 == group &&
            substr($0, 3 + length(group) + 1, 1) ~ /[a-z]/ { print $2 }')
    fi
    COMPREPLY=($(compgen -W "$choices" -- "$current"))
    [[ -z $choices && $current != -* ]] && COMPREPLY=($(compgen -f -- "$current"))
}
complete -o filenames -F _tocsin tocsin
