package weave

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// overlay is what the go command reads instead of the files that are there: for
// each, a file in our cache, or nothing.
type overlay struct {
	cache   cache
	replace map[string]string
	theirs  string // file of the user's own
}

// overlayFile is what the go command reads, and what we note for ourselves: within
// the environment of one woven build, another is none of both.
type overlayFile struct {
	Replace map[string]string
	Guanlan *struct{ Theirs string } `json:",omitempty"`
}

func readOverlay(name string) (*overlayFile, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read -overlay: %w", err)
	}
	o := new(overlayFile)
	if err := json.Unmarshal(text, o); err != nil {
		return nil, fmt.Errorf("read -overlay %s: %w", name, err)
	}
	return o, nil
}

// add takes over the overlay that the user gives.
func (o *overlay) add(name, dir string) error {
	if !filepath.IsAbs(name) {
		name = filepath.Join(dir, name)
	}
	theirs, err := readOverlay(name)
	if err != nil {
		return err
	}
	o.theirs = name
	absolute := func(f string) string {
		if f == "" || filepath.IsAbs(f) {
			return f
		}
		return filepath.Join(dir, f)
	}
	for from, to := range theirs.Replace {
		o.replace[absolute(from)] = absolute(to)
	}
	return nil
}

// read is a file as the build sees it.
func (o *overlay) read(name string) (string, error) {
	if to, ok := o.replace[name]; ok && to != "" {
		name = to
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("read source: %w", err)
	}
	return string(text), nil
}

// put has the build see text as the file name.
func (o *overlay) put(name, text string) error {
	kept, err := o.cache.keep(text, filepath.Ext(name))
	o.replace[name] = kept
	return err
}

// write keeps the overlay itself, and gives its name.
func (o *overlay) write() (string, error) {
	text, err := json.MarshalIndent(overlayFile{o.replace, &struct{ Theirs string }{o.theirs}}, "", " ")
	if err != nil {
		return "", fmt.Errorf("write overlay: %w", err)
	}
	return o.cache.keep(string(text), ".json")
}
