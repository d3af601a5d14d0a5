package metric

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/metadata"
)

const (
	familiesFile = "families.json"
	// maxFamilies bounds the metric families of a tenant whose metadata is
	// kept, about 200 bytes each.
	maxFamilies = 50_000
	// maxHelp bounds one help text in bytes.
	maxHelp = 1024
)

// families keeps type, unit and help of metric families, which the engine does
// not hand out. They are saved with every compaction and come again with every
// batch, so that a crash loses nothing for long.
type families struct {
	path string

	mu    sync.RWMutex
	known map[string]metadata.Metadata
	dirty bool
}

// family is the saved form.
type family struct {
	Type model.MetricType `json:"type"`
	Unit string           `json:"unit,omitempty"`
	Help string           `json:"help,omitempty"`
}

// loadFamilies reads what was saved; an unreadable file is a loss of comfort
// only.
func loadFamilies(path string, log *slog.Logger) *families {
	f := &families{path: path, known: map[string]metadata.Metadata{}}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return f
	}
	var saved map[string]family
	if err == nil {
		err = json.Unmarshal(raw, &saved)
	}
	if err != nil {
		log.Warn("read metric metadata", "path", path, "err", err)
	}
	for name, m := range saved {
		f.known[name] = metadata.Metadata{Type: m.Type, Unit: m.Unit, Help: m.Help}
	}
	return f
}

// note keeps m for the family, replacing what was known.
func (f *families) note(name string, m metadata.Metadata) {
	if len(m.Help) > maxHelp {
		m.Help = strings.ToValidUTF8(m.Help[:maxHelp], "")
	}
	f.mu.RLock()
	old, ok := f.known[name]
	full := len(f.known) >= maxFamilies
	f.mu.RUnlock()
	if (ok && old == m) || (!ok && full) {
		return
	}
	m.Help, m.Unit = strings.Clone(m.Help), strings.Clone(m.Unit)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.known[name] = m
	f.dirty = true
}

// get returns the metadata of one family, or of all when name is empty.
func (f *families) get(name string) map[string]metadata.Metadata {
	f.mu.RLock()
	defer f.mu.RUnlock()
	out := map[string]metadata.Metadata{}
	if name != "" {
		if m, ok := f.known[name]; ok {
			out[name] = m
		}
		return out
	}
	for name, m := range f.known {
		out[name] = m
	}
	return out
}

// save writes the file anew if anything changed.
func (f *families) save() error {
	f.mu.Lock()
	if !f.dirty {
		f.mu.Unlock()
		return nil
	}
	f.dirty = false
	saved := make(map[string]family, len(f.known))
	for name, m := range f.known {
		saved[name] = family{m.Type, m.Unit, m.Help}
	}
	f.mu.Unlock()
	raw, err := json.Marshal(saved)
	if err == nil {
		tmp := f.path + ".tmp"
		if err = os.WriteFile(tmp, raw, 0o644); err == nil {
			err = os.Rename(tmp, f.path)
		}
	}
	if err != nil {
		f.mu.Lock()
		f.dirty = true
		f.mu.Unlock()
		return fmt.Errorf("save metric metadata: %w", err)
	}
	return nil
}
