//go:build linux

package vm

import "testing"

func TestNewestImage(t *testing.T) {
	got, err := newestImage([]byte("Package: linux-image-amd64\nDepends: foo (>= 1), linux-image-6.1.0-7-amd64 (= 6.1.20-2)\nSize: 1\n"))
	if want := "linux-image-6.1.0-7-amd64"; got != want || err != nil {
		t.Errorf("newestImage = %q, %v, want %q", got, err, want)
	}
	if got, err := newestImage([]byte("Package: x\nDepends: libc6\n")); err == nil {
		t.Errorf("no kernel gives %q", got)
	}
}

func TestArchiveURI(t *testing.T) {
	const targets = `DEP-11 Debian bookworm http://a.example/debian/
Packages Debian bookworm-updates http://b.example/debian/
Packages Debian bookworm-security http://c.example/debian-security/
Packages Other bookworm http://d.example/
Packages Debian bookworm http://e.example/debian/
`
	if got, err := archiveURI(targets); got != "http://e.example/debian/" || err != nil {
		t.Errorf("archiveURI = %q, %v", got, err)
	}
	if got, err := archiveURI("Packages Ubuntu noble http://f.example/\n"); err == nil {
		t.Errorf("no Debian gives %q", got)
	}
}
