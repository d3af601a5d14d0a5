package prom

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/guanlan-io/guanlan/internal/store"
)

// allScrapers answers with what all who scrape for the tenant say.
func (a *API) allScrapers(w http.ResponseWriter, r *http.Request, t store.Tenant) {
	a.scrapers(w, r, t, false)
}

// oneScraper answers a question about one scrape pool with what the first says
// that has it.
func (a *API) oneScraper(w http.ResponseWriter, r *http.Request, t store.Tenant) {
	a.scrapers(w, r, t, true)
}

// scrapers asks those who scrape, each of whom answers with Prometheus' own
// handlers. An error is told when nobody has another answer.
func (a *API) scrapers(w http.ResponseWriter, r *http.Request, t store.Tenant, first bool) {
	var all []http.Handler
	if a.opts.Scrapers != nil {
		all = a.opts.Scrapers(t)
	}
	if len(all) == 0 {
		a.read(w, r, t)
		return
	}
	var data any
	var failed *held
	for _, s := range all {
		h, err := ask(s, r)
		if err != nil {
			a.fail(w, r, fmt.Errorf("ask a scraper: %w", err))
			return
		}
		if h.code != http.StatusOK {
			failed = h
			continue
		}
		data = together(data, h.answer.Data)
		if first {
			break
		}
	}
	if data == nil && failed != nil {
		a.reply(w, r, failed.code, failed.answer)
		return
	}
	// Each has kept to the limit, but not all together.
	if list, ok := data.([]any); ok {
		if n, err := number(r, "limit"); err == nil && n >= 0 {
			data = list[:min(n, len(list))]
		}
	}
	a.reply(w, r, http.StatusOK, answer{Status: "success", Data: data})
}

// ask has a handler answer r. Headers stay behind: the answer is to be plain
// JSON, and which page may read it is decided here.
func ask(s http.Handler, r *http.Request) (*held, error) {
	about := url.URL{Path: r.URL.Path, RawQuery: r.URL.RawQuery}
	question, err := http.NewRequestWithContext(r.Context(), http.MethodGet, about.String(), nil)
	if err != nil {
		return nil, err
	}
	h := &held{header: http.Header{}, code: http.StatusOK}
	s.ServeHTTP(h, question)
	d := json.NewDecoder(&h.body)
	d.UseNumber()
	if err := d.Decode(&h.answer); err != nil {
		return nil, fmt.Errorf("decode answer with status %d: %w", h.code, err)
	}
	return h, nil
}

// together puts two answers of the same kind together: lists one behind the
// other, objects by their keys; of anything else the first stays.
func together(a, b any) any {
	switch first := a.(type) {
	case nil:
		return b
	case []any:
		if second, ok := b.([]any); ok {
			return append(first, second...)
		}
	case map[string]any:
		second, _ := b.(map[string]any)
		for key, v := range second {
			first[key] = together(first[key], v)
		}
	}
	return a
}

// held is an answer that is not sent.
type held struct {
	header http.Header
	code   int
	body   bytes.Buffer
	answer answer
}

func (h *held) Header() http.Header         { return h.header }
func (h *held) WriteHeader(code int)        { h.code = code }
func (h *held) Write(p []byte) (int, error) { return h.body.Write(p) }
