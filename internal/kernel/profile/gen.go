//go:build linux

package profile

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -go-package profile -type owner -type key -type count -type stack -type labels -type goroutines profile profile.bpf.c -- -O2 -g -mcpu=v3 -Wall -Werror -Wno-unused-function
