package footprint

import "testing"

func TestResident(t *testing.T) {
	before := Resident()
	if before < 1<<20 {
		t.Fatalf("%d bytes, want some megabytes", before)
	}
	block := make([]byte, 32<<20)
	for i := range block {
		block[i] = byte(i)
	}
	if after := Resident(); after < before+16<<20 {
		t.Errorf("%d bytes after touching %d more than at %d", after, len(block), before)
	}
}
