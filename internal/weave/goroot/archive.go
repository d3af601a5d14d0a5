package goroot

import (
	"archive/tar"
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"
)

//go:embed runtime.tar.zst
var compressed []byte

// contents is the archive, read. Nobody changes it.
type contents struct {
	runtime []packed                     // names begin with src/guanlan/
	fold    map[string]map[string][]byte // by package, "sdk/zap", and name of the file
	imports map[string]string            // new import path by old
}

type packed struct {
	name string
	text []byte
}

// archive reads what is embedded, once.
var archive = sync.OnceValue(func() *contents {
	c, err := read(compressed)
	if err != nil {
		panic(fmt.Sprintf("BUG: read the embedded archive: %v", err)) // a test reads it
	}
	return c
})

func read(archive []byte) (*contents, error) {
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	text, err := dec.DecodeAll(archive, nil)
	if err != nil {
		return nil, err
	}
	c := &contents{fold: map[string]map[string][]byte{}, imports: map[string]string{}}
	for tr := tar.NewReader(bytes.NewReader(text)); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return c, nil
		}
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(tr)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", h.Name, err)
		}
		folded, fold := strings.CutPrefix(h.Name, "fold/")
		switch {
		case fold:
			of := path.Dir(folded)
			if c.fold[of] == nil {
				c.fold[of] = map[string][]byte{}
			}
			c.fold[of][path.Base(folded)] = text
		case h.Name == "imports":
			for line := range strings.Lines(string(text)) {
				from, to, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
				c.imports[from] = to
			}
		default:
			c.runtime = append(c.runtime, packed{h.Name, text})
		}
	}
}

// Fold returns the sources of one of our packages that are to be merged into a
// library's, as "sdk/zap", by the names of the files: without comments, with the
// imports that they have in our repository. It is nil for other packages. The
// caller may change the map, not the texts.
func Fold(name string) (files map[string][]byte) {
	return maps.Clone(archive().fold[name])
}

// Import returns the import path below guanlan for that of a package of the SDK
// or of a module that it needs, and false for other packages.
func Import(path string) (to string, ok bool) {
	to, ok = archive().imports[path]
	return to, ok
}
