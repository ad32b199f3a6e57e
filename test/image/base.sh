#!/bin/sh
# Makes what stands in for the image node:<version>-slim where no registry of images can be asked: Debian, Node.js, npm,
# the user `node`, the same entry point.
#
#   base.sh <node binary> <its version> <archive to write>
set -eu
umask 022
node=$1 version=$2 archive=$3
npm=11.19.1
name=docker.io/library/node:$version-slim
work=$(mktemp -d)
part=$archive.$$ # other processes may make it too
trap 'rm -rf "$work" "$part"' EXIT
trap 'exit 1' INT TERM
tree=$work/tree
images() { buildah --root "$work/images" --runroot "$work/run" --storage-driver vfs "$@"; }

debootstrap --variant=minbase bookworm "$tree" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"}
install "$node" "$tree/usr/local/bin/node"
# The project's own rule against packages from elsewhere comes along in the environment of `npm run`: a mirror is elsewhere.
(cd "$work" && env -u npm_config_allow_remote npm pack --loglevel=error "npm@$npm")
mkdir -p "$tree/usr/local/lib/node_modules/npm"
tar -xzf "$work/npm-$npm.tgz" -C "$tree/usr/local/lib/node_modules/npm" --strip-components=1 --no-same-owner
ln -s ../lib/node_modules/npm/bin/npm-cli.js "$tree/usr/local/bin/npm"
cat > "$tree/usr/local/bin/docker-entrypoint.sh" <<'EOF'
#!/bin/sh
set -e
if [ "${1#-}" != "${1}" ] || [ -z "$(command -v "${1}")" ] || { [ -f "${1}" ] && ! [ -x "${1}" ]; }; then
  set -- node "$@"
fi
exec "$@"
EOF
chmod 755 "$tree/usr/local/bin/docker-entrypoint.sh"
chroot "$tree" useradd --create-home --user-group --uid 1000 --shell /bin/bash node
# Places that a build can mount this machine's npm settings and authorities on, without a trace in what is built.
mkdir -p "$tree/usr/local/etc"
touch "$tree/usr/local/etc/npmrc" "$tree/usr/local/etc/build-ca.pem"

cd "$tree"
rm -rf dev/* var/lib/apt/lists/* var/cache/apt/* usr/share/doc usr/share/locale usr/share/man
tar -cf "$work/tree.tar" .
container=$(images from scratch)
images add --quiet "$container" "$work/tree.tar" /
images config --env "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" --env "NODE_VERSION=$version" \
  --entrypoint '["docker-entrypoint.sh"]' --cmd node "$container"
images commit --quiet --format docker "$container" "$name"
images push --quiet "$name" "docker-archive:$work/archive.tar:$name"
mkdir -p "$(dirname "$archive")"
cp "$work/archive.tar" "$part"
mv "$part" "$archive"
