package weave

import (
	"bytes"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

// ErrNotWoven is of a binary that says nothing of being woven.
var ErrNotWoven = errors.New("nothing is woven into it")

// Check tells what is woven into a binary. Without anything, or when it is no
// binary of Go, it returns an error.
func Check(name string) (*Mark, error) {
	binary, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("check: %w", err)
	}
	if _, err := buildinfo.Read(bytes.NewReader(binary)); err != nil {
		return nil, fmt.Errorf("check %s: not a binary of Go: %w", name, err)
	}
	m, ok := findMark(binary)
	if !ok {
		return nil, fmt.Errorf("check %s: %w", name, ErrNotWoven)
	}
	return m, nil
}

// findMark gives the first marker that is well-formed: the weaver's own binary
// holds the beginning of one, too.
func findMark(binary []byte) (*Mark, bool) {
	for {
		_, rest, found := bytes.Cut(binary, []byte(Marker))
		if !found {
			return nil, false
		}
		text, _, _ := bytes.Cut(rest, []byte{0})
		if m := new(Mark); json.Unmarshal(text, m) == nil && m.Version == 1 && m.Go != "" {
			return m, true
		}
		binary = rest
	}
}
