package audit

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-14 -strip llvm-strip-14 -no-global-types -target bpfel audit audit.bpf.c -- -O2 -g -mcpu=v3 -Wall -Wno-unused-function
