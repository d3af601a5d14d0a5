//go:build linux && (amd64 || arm64)

package attach

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-14 -strip llvm-strip-14 -target amd64,arm64 -go-package attach -type span -type brief -type offsets attach attach.bpf.c -- -O2 -g -mcpu=v3 -Wall -Werror -Wno-unused-function
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-14 -strip llvm-strip-14 -target amd64,arm64 -go-package attach -type places -type pattern inject inject.bpf.c -- -O2 -g -mcpu=v3 -Wall -Werror -Wno-unused-function
