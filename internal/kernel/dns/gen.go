//go:build linux

package dns

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -go-package dns -type head -type asker dns dns.bpf.c -- -O2 -g -mcpu=v3 -Wall -Werror -Wno-unused-function
