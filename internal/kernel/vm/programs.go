//go:build linux

package vm

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// GoEnvFile has what `go env` answers in the guest, as JSON.
const GoEnvFile = "/go.env.json"

// ModCache is GOMODCACHE in the guest. It has go commands of other releases, as the host's has.
const ModCache = "/modules-of-go"

// Toolchain is where below a GOMODCACHE a release of Go is, as "1.25.5".
func Toolchain(release, goarch string) string {
	return "golang.org/toolchain@v0.0.1-go" + release + ".linux-" + goarch
}

// BuiltAs is where the guest has the program that the host built of a main.go, for
// GOARCH if that is not "", with these flags, by another release of Go if that is not "".
func BuiltAs(source []byte, release, goarch string, flags []string) string {
	h := sha256.New()
	h.Write(source)
	h.Write([]byte("\x00" + release + "\x00" + goarch + "\x00" + strings.Join(flags, "\x00")))
	return "/programs/" + hex.EncodeToString(h.Sum(nil)[:12])
}
