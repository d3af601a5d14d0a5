// Package ui serves the web interface. Its sources stand in src; what is
// served is the build in dist, which is committed, so that building Guanlan
// needs no Node. Run `npm ci && npm run build` here after a change of src.
package ui

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"
)

//go:embed all:dist
var dist embed.FS

// policy lets the pages load what comes from the server itself and nothing
// else: no other host, no inline script, no inline style.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"

const (
	// Names of assets carry a hash of their content: what has a name never changes.
	cacheForever = "public, max-age=31536000, immutable"
	// The index names the assets, so browsers must ask for it each time.
	cacheNever = "no-cache"
)

// assets is the folder of files whose names carry a hash.
const assets = "assets/"

// types are the media types of the files that a build makes. The system's
// table is not used: on some systems it is wrong about scripts.
var types = map[string]string{
	".html":  "text/html; charset=utf-8",
	".js":    "text/javascript; charset=utf-8",
	".css":   "text/css; charset=utf-8",
	".svg":   "image/svg+xml",
	".png":   "image/png",
	".json":  "application/json",
	".txt":   "text/plain; charset=utf-8",
	".woff2": "font/woff2",
}

// encodings are the forms that the build compresses into, best first.
var encodings = []struct{ name, suffix string }{{"br", ".br"}, {"gzip", ".gz"}}

// Handler serves the web interface at the root of a host. Every path that is
// not a file answers with the index: the pages read the path themselves.
func Handler() http.Handler {
	root, err := fs.Sub(dist, "dist")
	if err != nil {
		panic("BUG: " + err.Error())
	}
	h, err := newHandler(root)
	if err != nil {
		panic("BUG: read the embedded build: " + err.Error())
	}
	return h
}

// variant is a file in one encoding.
type variant struct {
	encoding string // empty: as it is
	data     []byte
	etag     string
}

// file is what one path answers.
type file struct {
	mediaType string
	cache     string
	variants  []variant // best first; the last is as it is
}

// handler serves files from memory. It does not change once it is made.
type handler struct {
	files map[string]file
	index file
}

func newHandler(root fs.FS) (*handler, error) {
	h := &handler{files: map[string]file{}}
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || compressed(name) {
			return err
		}
		f, err := load(root, name)
		h.files[name] = f
		return err
	})
	if err != nil {
		return nil, err
	}
	index, ok := h.files["index.html"]
	if !ok {
		return nil, fmt.Errorf("index.html: %w", fs.ErrNotExist)
	}
	h.index = index
	return h, nil
}

func compressed(name string) bool {
	for _, e := range encodings {
		if strings.HasSuffix(name, e.suffix) {
			return true
		}
	}
	return false
}

func load(root fs.FS, name string) (file, error) {
	f := file{mediaType: types[path.Ext(name)], cache: cacheNever}
	if f.mediaType == "" {
		f.mediaType = "application/octet-stream"
	}
	if strings.HasPrefix(name, assets) {
		f.cache = cacheForever
	}
	for _, e := range encodings {
		data, err := fs.ReadFile(root, name+e.suffix)
		if err != nil {
			continue // not worth compressing
		}
		f.variants = append(f.variants, variant{e.name, data, etag(data)})
	}
	data, err := fs.ReadFile(root, name)
	f.variants = append(f.variants, variant{"", data, etag(data)})
	return f, err
}

func etag(data []byte) string {
	sum := sha256.Sum256(data)
	return `"` + hex.EncodeToString(sum[:12]) + `"`
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "same-origin")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		header.Set("Allow", "GET, HEAD")
		http.Error(w, "the web interface only answers GET and HEAD", http.StatusMethodNotAllowed)
		return
	}
	name := strings.TrimPrefix(path.Clean("/"+r.URL.Path), "/")
	f, ok := h.files[name]
	if !ok {
		if strings.HasPrefix(name, assets) {
			// An index of another version asks for it; the index in its place would
			// be taken for a script.
			http.NotFound(w, r)
			return
		}
		f = h.index
	}
	header.Set("Content-Type", f.mediaType)
	header.Set("Cache-Control", f.cache)
	if len(f.variants) > 1 {
		header.Set("Vary", "Accept-Encoding")
	}
	v := f.choose(r.Header.Get("Accept-Encoding"))
	header.Set("ETag", v.etag)
	if v.encoding != "" {
		header.Set("Content-Encoding", v.encoding)
		// ServeContent leaves the length of encoded content to its caller.
		header.Set("Content-Length", strconv.Itoa(len(v.data)))
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(v.data))
}

// choose picks the best variant that the client takes.
func (f file) choose(acceptEncoding string) variant {
	for _, v := range f.variants {
		if v.encoding == "" || accepts(acceptEncoding, v.encoding) {
			return v
		}
	}
	panic("BUG: a file without its plain form")
}

// accepts reads an Accept-Encoding header. A wildcard is not taken up: who
// sends it does not say that it understands brotli.
func accepts(header, encoding string) bool {
	for part := range strings.SplitSeq(header, ",") {
		name, params, _ := strings.Cut(part, ";")
		if !strings.EqualFold(strings.TrimSpace(name), encoding) {
			continue
		}
		quality, found := strings.CutPrefix(strings.ReplaceAll(params, " ", ""), "q=")
		if !found {
			return true
		}
		q, err := strconv.ParseFloat(quality, 64)
		return err == nil && q > 0
	}
	return false
}
