//go:build !linux || !(amd64 || arm64)

package main

import "github.com/spf13/cobra"

// newAttach: probes in running programs are the Linux kernel's, and programs for them
// are made for two architectures.
func newAttach() []*cobra.Command { return nil }
