//go:build linux

package tcp

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -go-package tcp -type key -type sum -type event -type listener -type poll -type quota tcp tcp.bpf.c -- -O2 -g -mcpu=v3 -Wall -Werror -Wno-unused-function
