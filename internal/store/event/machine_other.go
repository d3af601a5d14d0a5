//go:build !linux

package event

import "errors"

// machineMemory is the memory of the machine in bytes, 0 when not known.
func machineMemory() int64 { return 0 }

// allocateFile makes a file whose blocks are reserved.
func allocateFile(string, int64) error { return errors.ErrUnsupported }
