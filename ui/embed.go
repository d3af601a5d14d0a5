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
	"io"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/andybalholm/brotli"
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

// Assets worth compressing are there in one form only, which every browser
// takes; for other clients they are unpacked when asked for. Three forms of
// each would add two megabytes to the binary.
const packed = ".br"

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

// file is what one path answers.
type file struct {
	mediaType string
	cache     string
	data      []byte
	packed    bool // data is brotli
	etag      string
}

// handler serves files from memory. It does not change once it is made.
type handler struct {
	files map[string]file
	index file
}

func newHandler(root fs.FS) (*handler, error) {
	h := &handler{files: map[string]file{}}
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(root, name)
		plain, isPacked := strings.CutSuffix(name, packed)
		h.files[plain] = newFile(plain, data, isPacked)
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

func newFile(name string, data []byte, isPacked bool) file {
	f := file{mediaType: types[path.Ext(name)], cache: cacheNever, data: data, packed: isPacked, etag: etag(data)}
	if f.mediaType == "" {
		f.mediaType = "application/octet-stream"
	}
	if strings.HasPrefix(name, assets) {
		f.cache = cacheForever
	}
	return f
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
	tag, data := f.etag, f.data
	if f.packed {
		header.Set("Vary", "Accept-Encoding")
		if accepts(r.Header.Get("Accept-Encoding"), "br") {
			header.Set("Content-Encoding", "br")
			// ServeContent leaves the length of encoded content to its caller.
			header.Set("Content-Length", strconv.Itoa(len(data)))
		} else {
			var err error
			if data, err = io.ReadAll(brotli.NewReader(bytes.NewReader(data))); err != nil {
				panic("BUG: unpack " + name + ": " + err.Error())
			}
			tag = etag(data)
		}
	}
	header.Set("ETag", tag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
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
