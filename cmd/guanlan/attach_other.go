//go:build !linux

package main

import "github.com/spf13/cobra"

// newAttach: probes in running programs are the Linux kernel's.
func newAttach() []*cobra.Command { return nil }
