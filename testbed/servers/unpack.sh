#!/usr/bin/env bash
# Unpacks a database server and its clients without installing anything and without root rights, and
# prints the `usr` folder that holds them (usr/sbin/mysqld, usr/bin/mysqldump, ...).
#
#   usr=$(testbed/servers/unpack.sh mysql | mariadb | pg-repack | pt-archiver | tini | chromium)
#
# `pg-repack` is the PostgreSQL that the distribution has, with the extension and its client beside it.
#
# The packages are the distribution's own, fetched by apt with every library they need, laid out
# below one folder and run through that folder's own dynamic loader: so the packages may come from a
# newer suite than the machine's. Debian carries MySQL in unstable alone; the rest comes from the
# machine's own suite. Takes 10 to 40 s the first time, nothing after that. Result and lock are in
# ${XDG_CACHE_HOME:-~/.cache}/umami-ops/servers; two runs at once wait for each other.
set -euo pipefail

fail() { echo "unpack.sh: $*" >&2; exit 1; }

what=${1:-}
case $what in
  mysql) candidates=("mysql-server-core mysql-client-core" "mysql-server-core mysql-client"
           "mysql-server-core-8.4 mysql-client-core-8.4" "mysql-server-core-8.0 mysql-client-core-8.0")
         proof=usr/sbin/mysqld ;;
  mariadb) candidates=("mariadb-server-core mariadb-client-core mariadb-client")
         proof=usr/sbin/mariadbd ;;
  pg-repack) candidates=("postgresql-15 postgresql-15-repack" "postgresql-16 postgresql-16-repack"
           "postgresql-17 postgresql-17-repack" "postgresql-18 postgresql-18-repack")
         proof=usr/bin/pg_repack ;;
  pt-archiver) candidates=("percona-toolkit libdbd-mysql-perl") proof=usr/bin/pt-archiver ;;
  tini) candidates=("tini") proof=usr/bin/tini ;;
  chromium) candidates=("chromium-headless-shell fonts-dejavu-core") proof=usr/bin/chromium-headless-shell ;;
  *) fail "usage: unpack.sh mysql|mariadb|pg-repack|pt-archiver|tini|chromium" ;;
esac

home=${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}
cache=${XDG_CACHE_HOME:-$home/.cache}/umami-ops/servers
mkdir -p "$cache" || fail "cannot write to $cache; XDG_CACHE_HOME names another place"
root=$cache/$what
exec 9>"$cache/$what.lock"
flock 9
if [[ -x $root/$proof ]]; then echo "$root/usr"; exit; fi

for tool in apt-get dpkg-deb; do
  command -v $tool >/dev/null || fail "$what is not installed, and unpacking it needs $tool (Debian, Ubuntu)." \
    "Install it, start Docker, or set the server's UMAMI_OPS_TEST_..._URL"
done
work=$(mktemp -d "$cache/.$what.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{lists,cache/archives}/partial "$work/root"
: >"$work/status"

# The machine's own source list, so that its mirror, proxy and keys are used.
sources=/etc/apt/sources.list
for file in /etc/apt/sources.list.d/{debian,ubuntu}.sources; do [[ -s $file ]] && sources=$file; done
[[ -s $sources ]] || fail "no package sources in /etc/apt, so $what cannot be fetched"
distribution=$(. /etc/os-release && echo "$ID")
if [[ $what == mysql && $distribution == debian ]]; then
  mirror=$(awk '/^URIs:/ {print $2; exit} $1 == "deb" {for (i = 2; i <= NF; i++) if ($i ~ /:\/\//) {print $i; exit}}' \
    "$sources")
  key=/usr/share/keyrings/debian-archive-keyring.gpg
  [[ -f $key ]] || key=${key%.gpg}.pgp
  sources=$work/unstable.list
  echo "deb [signed-by=$key] $mirror sid main" >"$sources"
fi

# An empty status file makes apt fetch every dependency, libc and its loader included.
apt=(apt-get -qq -oDir::Etc::sourcelist="$sources" -oDir::Etc::sourceparts=/dev/null
  -oDir::State::lists="$work/lists" -oDir::State::status="$work/status" -oDir::Cache="$work/cache"
  -oAPT::Sandbox::User="$(id -un)" -oDebug::NoLocking=true -oAcquire::Languages=none)
"${apt[@]}" update >"$work/log" 2>&1 || { cat "$work/log" >&2; fail "apt-get could not read the package lists"; }
fetched=
for packages in "${candidates[@]}"; do
  # shellcheck disable=SC2086 # a list of package names
  if "${apt[@]}" install -y --no-install-recommends --download-only $packages >>"$work/log" 2>&1; then
    fetched=$packages
    break
  fi
done
[[ -n $fetched ]] || { tail -20 "$work/log" >&2; fail "apt-get could not fetch $what"; }
# Chromium and PostgreSQL start programs of their own, which the unpacked loader can't do for them: what comes
# from the machine's own suite can as well have the machine's libc.
has_own_libc=yes
case $what in chromium | pg-repack | tini) has_own_libc= ;; esac
for package in "$work"/cache/archives/*.deb; do
  [[ -z $has_own_libc && ${package##*/} == libc6_* ]] && continue
  dpkg-deb -x "$package" "$work/root"
done

# Every program is replaced by a script that runs it through the unpacked loader. The scripts find
# their root from their own place, because the folder is moved once it is complete. They read no
# option file unless told to, for the machine's own may be meant for another server.
cd "$work/root"
mkdir -p programs
shopt -s nullglob
loaders=({usr/,}lib*/{*-linux-gnu*/,}ld-linux*.so.*)
loader=${loaders[0]:-}
[[ -n $loader || -z $has_own_libc ]] || fail "the unpacked packages hold no dynamic loader"
# Folders beside them stand in programs and libraries by their place on an installed machine.
folders=({usr/,}lib/*-linux-gnu*{,/mysql/private,/pulseaudio}/ {usr/,}lib/mysql/private/)
libraries=$(printf ':$root/%s' "${folders[@]%/}")

wrap() { # wrap FOLDER/PROGRAM OPTIONS...: put a script in the program's place
  local program=$1; shift
  mv "$program" "programs/${program##*/}"
  cat >"$program" <<SCRIPT
#!/bin/sh
root=\$(cd "\$(dirname "\$(readlink -f "\$0")")/../.." && pwd)
$*
exec "\$root/$loader" --library-path "${libraries#:}" "\$root/programs/${program##*/}" "\$@"
SCRIPT
  chmod +x "$program"
}

first='first=--no-defaults; case "${1-}" in --no-defaults|--defaults-*|--print-defaults) first=$1; shift ;; esac'
share='--character-sets-dir="$root/usr/share/mysql/charsets" --plugin-dir="$root/usr/lib/mysql/plugin"'
messages='--lc-messages-dir="$root/usr/share/mysql" --basedir="$root/usr"'
case $what in
  mysql | mariadb)
    for program in usr/sbin/{mysqld,mariadbd} usr/bin/{mysql,mysqldump,mysqladmin,mysqlbinlog,mysqlimport} \
        usr/bin/mariadb{,-dump,-admin,-binlog,-import}; do
      [[ -f $program && ! -L $program ]] || continue
      options=$share
      [[ $program == usr/sbin/* ]] && options="$messages $share"
      wrap "$program" "$first; set -- \"\$first\" $options \"\$@\""
    done
    for program in usr/bin/{my_print_defaults,resolveip}; do
      [[ -f $program ]] && wrap "$program" ""
    done ;;
  pt-archiver)
    folders=(usr/share/perl5/ usr/lib/*/perl5/*/ usr/share/perl/*/ usr/lib/*/perl/*/ usr/lib/*/perl-base/)
    modules=$(printf ':$root/%s' "${folders[@]%/}")
    mv usr/bin/pt-archiver programs/pt-archiver.pl
    mv usr/bin/perl usr/bin/pt-archiver
    wrap usr/bin/pt-archiver "export PERL5LIB=\"${modules#:}\"; set -- \"\$root/programs/pt-archiver.pl\" \"\$@\"" ;;
  pg-repack)
    # PostgreSQL finds its other files from the place of its program, so that one stays where it is.
    folder=$(echo usr/lib/postgresql/*/bin)
    for program in postgres initdb pg_repack; do
      rm -f "usr/bin/$program"
      cat >"usr/bin/$program" <<SCRIPT
#!/bin/sh
root=\$(cd "\$(dirname "\$(readlink -f "\$0")")/../.." && pwd)
export LD_LIBRARY_PATH="${libraries#:}"
exec "\$root/$folder/$program" "\$@"
SCRIPT
      chmod +x "usr/bin/$program"
    done ;;
  chromium)
    cat >etc/fonts/here.conf <<CONFIG
<?xml version="1.0"?><fontconfig><dir prefix="relative">../../usr/share/fonts</dir></fontconfig>
CONFIG
    rm -f usr/bin/chromium-headless-shell
    cat >usr/bin/chromium-headless-shell <<SCRIPT
#!/bin/sh
root=\$(cd "\$(dirname "\$(readlink -f "\$0")")/../.." && pwd)
export LD_LIBRARY_PATH="${libraries#:}" FONTCONFIG_FILE="\$root/etc/fonts/here.conf"
exec "\$root/usr/lib/chromium/chromium-headless-shell" "\$@"
SCRIPT
    chmod +x usr/bin/chromium-headless-shell ;;
esac
cd "$cache"
case $what in
  pg-repack | pt-archiver | tini | chromium) "$work/root/$proof" --version >&2 ;;
  *) "$work/root/$proof" --no-defaults --version >&2 ;;
esac
rm -rf "$root"
mv -T "$work/root" "$root"
echo "$root/usr"
