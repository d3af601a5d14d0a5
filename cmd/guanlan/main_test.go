package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the test binary stand in for guanlan: run under that name, it
// is the command. No second binary has to be built.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"guanlan": main})
}
