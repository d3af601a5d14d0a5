//go:build !linux

package main

import (
	"errors"

	"github.com/spf13/cobra"
)

const defaultPins = "/sys/fs/bpf/guanlan"

var errLinuxOnly = errors.New("the kernel is watched on Linux only")

func newAgentStatus() *cobra.Command {
	return &cobra.Command{Use: "status", Short: "Ask the agents of this machine how they fare (Linux)",
		RunE: func(*cobra.Command, []string) error { return errLinuxOnly }}
}

func newAgentUnpin() *cobra.Command {
	return &cobra.Command{Use: "unpin", Short: "Remove what an agent left with --pin (Linux)",
		RunE: func(*cobra.Command, []string) error { return errLinuxOnly }}
}
