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
}

// add takes over the overlay that the user gives.
func (o *overlay) add(name, dir string) error {
	if !filepath.IsAbs(name) {
		name = filepath.Join(dir, name)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("read -overlay: %w", err)
	}
	var theirs struct{ Replace map[string]string }
	if err := json.Unmarshal(text, &theirs); err != nil {
		return fmt.Errorf("read -overlay %s: %w", name, err)
	}
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
	text, err := json.MarshalIndent(map[string]any{"Replace": o.replace}, "", " ")
	if err != nil {
		return "", fmt.Errorf("write overlay: %w", err)
	}
	return o.cache.keep(string(text), ".json")
}
