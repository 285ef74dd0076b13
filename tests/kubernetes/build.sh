#!/usr/bin/env bash
# Makes what a Kubernetes cluster on this machine consists of, from Debian's packages and sources alone, once:
#
#   tests/kubernetes/build.sh        # on Debian 12; prints the folder; 8 minutes on two cores, needs 5 GB meanwhile, no root
#
# The folder is $PENSTOCK_KUBERNETES, or ~/.cache/penstock/kubernetes-1.20.2. It gets `bin` (API server, controller manager,
# scheduler and kubelet from the source package `kubernetes`, of which Debian itself builds only kubectl), `debian` (packages
# that are unpacked and not installed, as theirs would start services: etcd, containerd, runc, CNI plugins, kubectl), and
# `pause.tar`, the image that holds a pod's network. The system's own packages and lists of packages stay as they are.
set -euo pipefail
version=1.20.2
folder=${PENSTOCK_KUBERNETES:-${XDG_CACHE_HOME:-$HOME/.cache}/penstock/kubernetes-$version}
parts=(kube-apiserver kube-controller-manager kube-scheduler kubelet)
packages=(etcd-server containerd runc containernetworking-plugins kubernetes-client)
say() { echo "kubernetes: $*" >&2; }

if [[ -e $folder/complete ]]; then
  echo "$folder"
  exit 0
fi
for each in apt-get dpkg-source gcc make rsync; do
  command -v "$each" >/dev/null || { say "$each is not here (on Debian: apt-get install dpkg-dev gcc libc6-dev make rsync)"; exit 2; }
done
sources=/etc/apt/sources.list.d/debian.sources
[[ -e $sources ]] || sources=/etc/apt/sources.list # the older form
grep -qs bookworm "$sources" || { say "$sources does not name bookworm: this needs Debian 12"; exit 2; }

mkdir -p "$folder"
exec 9>"$folder/lock"
flock --nonblock 9 || { say "$folder is being built by another process"; exit 2; }
rm -rf "${folder:?}"/{apt,work,bin,debian,pause.tar}
mkdir -p "$folder"/{apt/parts,apt/lists/partial,work,debian}

# Lists of packages of its own, with sources, which this machine's may not have.
cat "$sources" >"$folder/apt/parts/programs.${sources##*.}"
sed 's/^Types: deb$/Types: deb-src/; s/^deb /deb-src /' "$sources" >"$folder/apt/parts/sources.${sources##*.}"
export APT_CONFIG=$folder/apt/configuration
cat >"$APT_CONFIG" <<END
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "$folder/apt/parts";
Dir::State::Lists "$folder/apt/lists";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
Debug::NoLocking "true";
END
if [[ $(id -u) == 0 ]]; then echo 'APT::Sandbox::User "root";' >>"$APT_CONFIG"; fi
cd "$folder/work"
say "getting packages and sources"
apt-get update -qq
apt-get download -qq "${packages[@]}" golang-1.19-go golang-1.19-src
for each in "${packages[@]}"; do dpkg -x "$each"_*.deb "$folder/debian"; done
for each in golang-*.deb; do dpkg -x "$each" go; done
apt-get source --download-only -qq kubernetes
dpkg-source --no-check -x kubernetes_*.dsc kubernetes >/dev/null

say "building ${parts[*]} in $folder/work: this takes minutes"
export GOROOT=$PWD/go/usr/lib/go-1.19 GOPATH=$PWD/path GOCACHE=$PWD/cache HOME=$PWD
export CGO_ENABLED=0 GO111MODULE=off GOFLAGS= PATH=$PWD/go/usr/lib/go-1.19/bin:$PATH
unset MAKEFLAGS MAKELEVEL MAKEOVERRIDES # of the make that called this
mkdir -p path/src/k8s.io
mv kubernetes path/src/k8s.io/kubernetes
make -C path/src/k8s.io/kubernetes WHAT="${parts[*]/#/cmd/}" >build.log 2>&1 ||
  { tail -n 30 build.log >&2; say "the build failed: $PWD/build.log"; exit 1; }
mkdir "$folder/bin"
for each in "${parts[@]}"; do install -m 755 "path/src/k8s.io/kubernetes/_output/bin/$each" "$folder/bin"; done

# The image `pause`: one static program, which sleeps and reaps.
mkdir root
gcc -Os -static -DVERSION="v$version" -o root/pause path/src/k8s.io/kubernetes/build/pause/linux/pause.c
install -m 755 root/pause "$folder/bin"
tar --owner=0 --group=0 -C root -cf layer.tar pause
digest=$(sha256sum layer.tar | cut -d ' ' -f 1)
cat >config.json <<END
{"architecture": "$(go env GOARCH)", "os": "linux", "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
 "rootfs": {"type": "layers", "diff_ids": ["sha256:$digest"]}}
END
echo '[{"Config": "config.json", "RepoTags": ["k8s.gcr.io/pause:3.2"], "Layers": ["layer.tar"]}]' >manifest.json
tar -cf "$folder/pause.tar" manifest.json config.json layer.tar

cd "$folder"
touch complete
chmod -R u+w work && rm -rf work apt
say "built in $folder"
echo "$folder"
