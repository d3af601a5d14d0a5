// Package logsql is the door for clients of VictoriaLogs: its querying API
// below /select/logsql, over the log records that Guanlan keeps.
//
// Parameters and answers are VictoriaLogs'. Differences: a tenant may also be
// named by the X-Scope-OrgID header, as through all doors, answers are bounded,
// and there are no endpoints that change data.
package logsql

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/guanlan-io/guanlan/internal/query"
	"github.com/guanlan-io/guanlan/internal/semconv"
	"github.com/guanlan-io/guanlan/internal/store"
	engine "github.com/guanlan-io/guanlan/internal/store/logsql"
)

const (
	// maxTime bounds a query; the timeout parameter may ask for less.
	maxTime = 30 * time.Second
	// maxBody bounds a form; VictoriaLogs' clients send queries as one.
	maxBody = 1 << 20
	// defaultStep is the time step of hits and of stats over a range.
	defaultStep = "1d"
)

// Options are what the door needs. Reader must be set.
type Options struct {
	Reader  *engine.Reader
	Version string           // told by /select/buildinfo
	Now     func() time.Time // nil: time.Now
	Logger  *slog.Logger     // nil: slog.Default()
}

// errTwoTenants is 400 at all endpoints: the request contradicts itself.
var errTwoTenants = fmt.Errorf("two tenants: %w", store.ErrInvalid)

type door struct {
	reader  *engine.Reader
	version string
	now     func() time.Time
	log     *slog.Logger
}

// New returns the handler of everything below /select/. The tenant is that of
// the X-Scope-OrgID header, without it that of the AccountID and ProjectID
// headers, without these the one in the request's context.
func New(o Options) http.Handler {
	d := &door{reader: o.Reader, version: o.Version, now: o.Now, log: o.Logger}
	if d.now == nil {
		d.now = time.Now
	}
	if d.log == nil {
		d.log = slog.Default()
	}
	mux := http.NewServeMux()
	handle := func(name string, f func(*request) error) {
		mux.HandleFunc("/select/logsql/"+name, func(w http.ResponseWriter, r *http.Request) { d.serve(w, r, name, f) })
	}
	handle("query", d.query)
	handle("tail", d.tail)
	handle("hits", d.hits)
	handle("stats_query", d.stats)
	handle("stats_query_range", d.stats)
	for name, kind := range map[string]engine.Kind{
		"field_names": engine.FieldNames, "field_values": engine.FieldValues,
		"stream_field_names": engine.StreamFieldNames, "stream_field_values": engine.StreamFieldValues,
		"streams": engine.Streams, "stream_ids": engine.StreamIDs,
	} {
		handle(name, func(r *request) error { return d.values(r, kind) })
	}
	mux.HandleFunc("GET /select/buildinfo", func(w http.ResponseWriter, r *http.Request) {
		q := &request{w: w, r: r}
		q.json(map[string]any{"status": "success", "data": map[string]string{"version": d.version}})
	})
	return mux
}

// request is one being answered.
type request struct {
	w     http.ResponseWriter
	r     *http.Request
	ctx   context.Context
	name  string // of the endpoint
	began time.Time
	query engine.Query
	begun bool // the answer
}

// serve reads what all endpoints have in common, answers, and tells errors.
func (d *door) serve(w http.ResponseWriter, r *http.Request, name string, answer func(*request) error) {
	q := &request{w: w, r: r, ctx: r.Context(), name: name, began: d.now()}
	err := d.read(q)
	if err == nil && name != "tail" {
		limit := maxTime
		if limit, err = q.duration("timeout", limit); err == nil {
			var done context.CancelFunc
			q.ctx, done = context.WithTimeout(q.ctx, min(limit, maxTime))
			defer done()
		}
	}
	if err == nil {
		err = answer(q)
	}
	if err != nil {
		d.fail(q, err)
	}
}

// read takes the query, its times and its filters from the form.
func (d *door) read(q *request) error {
	q.r.Body = http.MaxBytesReader(q.w, q.r.Body, maxBody)
	if err := q.r.ParseMultipartForm(maxBody); err != nil && !errors.Is(err, http.ErrNotMultipart) {
		return fmt.Errorf("read form: %w: %w", err, store.ErrInvalid)
	}
	e := &q.query
	if err := q.tenant(); err != nil {
		return err
	}
	var err error
	if e.Range.Start, err = q.time("start", time.Time{}); err != nil {
		return err
	}
	if e.Range.End, err = q.time("end", time.Time{}); err != nil {
		return err
	}
	// Relative times in the query refer to time, else to end, else to now; a
	// nanosecond before, so that a full day ends with the day.
	e.Now = q.began
	if !e.Range.End.IsZero() {
		e.Now = e.Range.End.Add(-time.Nanosecond)
	}
	if q.r.Form.Get("time") != "" {
		if e.Now, err = q.time("time", e.Now); err != nil {
			return err
		}
		e.Now = e.Now.Add(-time.Nanosecond)
	}
	if e.Text = q.r.Form.Get("query"); e.Text == "" {
		return fmt.Errorf("parameter query is empty: want LogsQL, for example query=*: %w", store.ErrInvalid)
	}
	e.Filters, e.StreamFilters = q.r.Form["extra_filters"], q.r.Form["extra_stream_filters"]
	if hidden := q.r.Form.Get("hidden_fields_filters"); strings.HasPrefix(hidden, "[") {
		if err := json.Unmarshal([]byte(hidden), &e.Hidden); err != nil {
			return fmt.Errorf("parameter hidden_fields_filters=%q: want a list of names: %w", hidden, store.ErrInvalid)
		}
	} else if hidden != "" {
		e.Hidden = strings.Split(hidden, ",")
	}
	return nil
}

// tenant reads whose data is asked for. X-Scope-OrgID means the same through
// all doors; AccountID and ProjectID are what VictoriaLogs' clients know. Two
// that differ are refused: whichever won, somebody would read what is not meant.
func (q *request) tenant() error {
	h := q.r.Header
	header := h.Get(semconv.TenantHeader)
	q.query.Tenant = query.TenantOf(q.ctx)
	if header != "" {
		t, err := store.ParseTenant(header)
		if err != nil {
			return err
		}
		q.query.Tenant = t
	}
	account, project := h.Get("AccountID"), h.Get("ProjectID")
	if account == "" && project == "" {
		return nil
	}
	named := cmp.Or(account, "0") + ":" + cmp.Or(project, "0")
	t, err := store.ParseTenant(named)
	if err != nil {
		return fmt.Errorf("headers AccountID and ProjectID: want integers from 0 to 4294967295: %w", store.ErrInvalid)
	}
	if header != "" && t != q.query.Tenant {
		return fmt.Errorf("header %s names tenant %s, headers AccountID and ProjectID name %s: send only one of them: %w",
			semconv.TenantHeader, q.query.Tenant, t, errTwoTenants)
	}
	q.query.Tenant = t
	return nil
}

func (q *request) time(name string, absent time.Time) (time.Time, error) {
	v := q.r.Form.Get(name)
	if v == "" {
		return absent, nil
	}
	t, err := engine.ParseTime(v, q.began)
	if err != nil {
		return t, fmt.Errorf("parameter %s: %w", name, err)
	}
	return t, nil
}

func (q *request) duration(name string, absent time.Duration) (time.Duration, error) {
	v := q.r.Form.Get(name)
	if v == "" {
		return absent, nil
	}
	if _, err := strconv.ParseFloat(v, 64); err == nil {
		v += "s" // a plain number is seconds
	}
	n, err := engine.ParseDuration(v)
	if err != nil {
		return 0, fmt.Errorf("parameter %s: %w", name, err)
	}
	return n, nil
}

// count reads a number that is not negative; absent, it is 0.
func (q *request) count(name string) (int, error) {
	v := q.r.Form.Get(name)
	if v == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(v, 10, 32)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("parameter %s=%q: want a number from 0: %w", name, v, store.ErrInvalid)
	}
	return int(n), nil
}

// head writes the headers that answers have.
func (q *request) head(contentType string) {
	h := q.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("VL-Request-Duration-Seconds", strconv.FormatFloat(time.Since(q.began).Seconds(), 'f', 3, 64))
	h.Set("AccountID", strconv.FormatUint(uint64(q.query.Tenant.Account), 10))
	h.Set("ProjectID", strconv.FormatUint(uint64(q.query.Tenant.Project), 10))
	q.begun = true
}

func (q *request) json(v any) error {
	q.head("application/json")
	// The status is out; a broken connection is all that can fail now.
	_ = json.NewEncoder(q.w).Encode(v)
	return nil
}

// fail answers with an error. Statistics have Prometheus' form, others text.
func (d *door) fail(q *request, err error) {
	if q.r.Context().Err() != nil {
		return // the client left
	}
	prometheus := strings.HasPrefix(q.name, "stats_")
	status := http.StatusInternalServerError
	switch {
	case errors.Is(err, errTwoTenants):
		status = http.StatusBadRequest
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, store.ErrUnavailable):
		status = http.StatusServiceUnavailable
	case errors.Is(err, store.ErrInvalid), errors.Is(err, store.ErrLimit):
		if status = http.StatusBadRequest; prometheus {
			status = http.StatusUnprocessableEntity
		}
	default:
		d.log.ErrorContext(q.ctx, "answer a LogsQL request", "error", err)
	}
	if q.begun {
		// Cutting the connection is the only way left to say that rows miss.
		panic(http.ErrAbortHandler)
	}
	if prometheus {
		q.w.Header().Set("Content-Type", "application/json")
		q.w.WriteHeader(status)
		_ = json.NewEncoder(q.w).Encode(map[string]string{"status": "error", "errorType": strconv.Itoa(status), "error": err.Error()})
		return
	}
	http.Error(q.w, err.Error(), status)
}
