package weavetest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Compare compares what a sample has sent, as text, with what stands in its
// folder: want.txt, or want.old.txt where the oldest version differs. With
// update it writes these files instead.
func (s Sample) Compare(t testing.TB, got string, update bool) {
	t.Helper()
	want, name, err := s.want()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if update {
		if err := s.update(got); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err != nil {
		t.Fatalf("there is no %s: read what was sent, then run with -update\n%s", name, got)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s of %s, %s: -want +got:\n%s", name, s.Aspect, s.Version, diff)
	}
}

func (s Sample) want() (text, name string, err error) {
	if s.ModFile == oldest {
		if b, err := os.ReadFile(s.wantFile(oldest)); !errors.Is(err, fs.ErrNotExist) {
			return string(b), filepath.Base(s.wantFile(oldest)), err
		}
	}
	b, err := os.ReadFile(s.wantFile(newest))
	return string(b), filepath.Base(s.wantFile(newest)), err
}

func (s Sample) wantFile(modFile string) string {
	if modFile == oldest {
		return filepath.Join(s.Dir, "want.old.txt")
	}
	return filepath.Join(s.Dir, "want.txt")
}

// update writes got. The newest version comes first: the oldest has a file of
// its own only where it differs from that.
func (s Sample) update(got string) error {
	if s.ModFile == oldest {
		if b, err := os.ReadFile(s.wantFile(newest)); err == nil && string(b) == got {
			if err := os.Remove(s.wantFile(oldest)); !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return nil
		}
	}
	return os.WriteFile(s.wantFile(s.ModFile), []byte(got), 0o644)
}

// Table is the libraries that are woven, as a table in Markdown, with the
// versions that their samples run with, oldest first.
func Table(samples []Sample) string {
	var out strings.Builder
	out.WriteString("| library | tested versions | what is captured |\n|---|---|---|\n")
	for i, s := range samples {
		if !s.Woven() || s.ModFile != newest {
			continue
		}
		versions := s.Version
		if i+1 < len(samples) && samples[i+1].Aspect == s.Aspect {
			versions = samples[i+1].Version + ", " + versions
		}
		fmt.Fprintf(&out, "| `%s` | %s | %s |\n", s.Library, versions, strings.ReplaceAll(s.About, "|", `\|`))
	}
	return out.String()
}
