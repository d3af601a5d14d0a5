package weave

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/gob"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/guanlan-io/guanlan/internal/weave/goroot"
)

// CacheVariable names the folder that woven sources are kept in.
const CacheVariable = goroot.CacheVariable

// cacheDir is where everything that is made for builds lies. Nothing in it is
// needed: it may be deleted at any time between builds.
func cacheDir() (string, error) {
	dir := os.Getenv(CacheVariable)
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("find a folder for woven sources: %w: name one by %s", err, CacheVariable)
		}
		dir = filepath.Join(user, "guanlan")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find the folder for woven sources: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the folder for woven sources: %w: name another one by %s", err, CacheVariable)
	}
	return dir, nil
}

// cache keeps woven sources. A file never changes once it has its name, so that
// builds may share it, also at the same time.
type cache struct{ dir string }

// keep stores a text under its hash.
func (c cache) keep(text, suffix string) (string, error) {
	sum := sha256.Sum256([]byte(text))
	name := filepath.Join(c.dir, "files", hex.EncodeToString(sum[:16])+suffix)
	if have, err := os.ReadFile(name); err == nil && string(have) == text {
		return name, nil
	}
	return name, c.write(name, text)
}

// write has a file with this text, which others never see half of.
func (c cache) write(name, text string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("keep a woven source: %w", err)
	}
	tmp, err := os.CreateTemp(c.dir, "making-")
	if err != nil {
		return fmt.Errorf("keep a woven source: %w", err)
	}
	_, err = tmp.WriteString(text)
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), name)
	}
	if err != nil {
		os.Remove(tmp.Name())
		return fmt.Errorf("keep a woven source: %w", err)
	}
	return nil
}

// remembered is a woven package: its new files and the places, by the names of
// files. To parse the standard library in each build would take longer than the go
// command does when nothing has changed.
type remembered struct {
	Texts  map[string]string
	Places []Place
}

func (c cache) entry(key string) string { return filepath.Join(c.dir, "packages", key) }

// recall fills in a package that was woven before.
func (c cache) recall(key string, t *planned) bool {
	text, err := os.ReadFile(c.entry(key))
	if err != nil {
		return false
	}
	text, whole := bytes.CutSuffix(text, []byte(key))
	var r remembered
	if !whole || gob.NewDecoder(bytes.NewReader(text)).Decode(&r) != nil {
		return false
	}
	for name, text := range r.Texts {
		t.texts[filepath.Join(t.dir, name)] = text
	}
	for _, p := range r.Places {
		p.File = filepath.Join(t.pkg.Dir, p.File)
		t.places = append(t.places, p)
	}
	return true
}

// remember keeps a package for recall.
func (c cache) remember(key string, t *planned) error {
	r := remembered{Texts: map[string]string{}}
	for name, text := range t.texts {
		r.Texts[filepath.Base(name)] = text
	}
	for _, p := range t.places {
		p.File = filepath.Base(p.File)
		r.Places = append(r.Places, p)
	}
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(r); err != nil {
		return fmt.Errorf("keep a woven package: %w", err)
	}
	return c.write(c.entry(key), b.String()+key)
}

// thisWeaver is the binary that weaves: another one may do it in another way.
var thisWeaver = sync.OnceValue(func() string {
	name, err := os.Executable()
	if err == nil {
		if info, err := os.Stat(name); err == nil {
			return fmt.Sprint(info.Size(), info.ModTime().UnixNano())
		}
	}
	return rand.Text() // nothing is recalled
})
