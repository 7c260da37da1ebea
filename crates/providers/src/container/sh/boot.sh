# The first process of a container until the program has come: then it becomes that. Arguments: the program's path
# below $HOME, its order as octal escapes, how many seconds to wait for it, its own arguments.
trap 'exit 143' TERM INT
trap : USR1
umask 077
program=$HOME/$1 order=$2 left=$3
shift 3
cd "$HOME" && mkdir -p "${program%/*}" || exit 73
printf "$order" >.skyward/order && echo $$ >.skyward/first || exit 73
while [ ! -x "$program" ]; do
    left=$((left - 1))
    [ "$left" -ge 0 ] || { echo "the program never came" >&2; exit 1; }
    sleep 1 &
    wait $!
done
SKYWARD_ROLE=machine:$$ exec "$program" "$@" <.skyward/order
