package logsql

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/guanlan-io/guanlan/internal/store"
	engine "github.com/guanlan-io/guanlan/internal/store/logsql"
)

const (
	// flushSize is how much is gathered before it is sent.
	flushSize = 32 << 10
	// tailWrite is how long one write to a client of a tail may block before
	// the client counts as gone.
	tailWrite = 10 * time.Second
	// minRefresh bounds how often a tail looks.
	minRefresh = 100 * time.Millisecond
)

// query streams rows, one JSON object a line.
func (d *door) query(q *request) error {
	limit, err := q.count("limit")
	if err != nil {
		return err
	}
	offset, err := q.count("offset")
	if err != nil {
		return err
	}
	var buf bytes.Buffer
	var broken error // of the connection
	flush := func() {
		if !q.begun {
			q.head("application/stream+json")
		}
		_, broken = q.w.Write(buf.Bytes())
		buf.Reset()
	}
	err = d.reader.Rows(q.ctx, q.query, offset, limit, func(row []engine.Field) bool {
		appendRow(&buf, row)
		if buf.Len() > flushSize {
			flush()
		}
		return broken == nil
	})
	if err != nil {
		return err
	}
	flush()
	return nil
}

// tail streams rows as they come in.
func (d *door) tail(q *request) error {
	t := engine.Tail{}
	var err error
	if t.Every, err = q.duration("refresh_interval", time.Second); err != nil {
		return err
	}
	t.Every = max(t.Every, minRefresh)
	if t.Since, err = q.duration("start_offset", 5*time.Second); err != nil {
		return err
	}
	if t.Delay, err = q.duration("offset", 5*time.Second); err != nil {
		return err
	}
	c := http.NewResponseController(q.w)
	var buf bytes.Buffer
	send := func() error {
		// Writers in tests have no deadlines; servers' do.
		_ = c.SetWriteDeadline(time.Now().Add(tailWrite))
		if _, err := q.w.Write(buf.Bytes()); err != nil {
			return err
		}
		buf.Reset()
		return c.Flush()
	}
	// Nothing is sent before the first look, so that a query that cannot be
	// followed is told so with a status.
	return d.reader.Follow(q.ctx, q.query, t, func(rows [][]engine.Field) bool {
		if !q.begun {
			q.head("application/x-ndjson")
		}
		for _, row := range rows {
			appendRow(&buf, row)
			if buf.Len() > flushSize && send() != nil {
				return false
			}
		}
		return send() == nil
	})
}

// appendRow writes a row in the order of its fields; a row without any is
// left out.
func appendRow(buf *bytes.Buffer, row []engine.Field) {
	if len(row) == 0 {
		return
	}
	appendObject(buf, row)
	buf.WriteByte('\n')
}

func appendObject(buf *bytes.Buffer, fields []engine.Field) {
	buf.WriteByte('{')
	for i, f := range fields {
		if i > 0 {
			buf.WriteByte(',')
		}
		appendString(buf, f.Name)
		buf.WriteByte(':')
		appendString(buf, f.Value)
	}
	buf.WriteByte('}')
}

func appendString(buf *bytes.Buffer, s string) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x80 {
			enc := json.NewEncoder(buf)
			enc.SetEscapeHTML(false)
			_ = enc.Encode(s)           // strings cannot fail
			buf.Truncate(buf.Len() - 1) // its newline
			return
		}
	}
	buf.WriteByte('"')
	buf.WriteString(s)
	buf.WriteByte('"')
}

// object is fields as JSON, in their order.
func object(fields []engine.Field) json.RawMessage {
	var buf bytes.Buffer
	appendObject(&buf, fields)
	return buf.Bytes()
}

func (d *door) hits(q *request) error {
	step, err := q.step()
	if err != nil {
		return err
	}
	offset, err := q.duration("offset", 0)
	if err != nil {
		return err
	}
	top, err := q.count("fields_limit")
	if err != nil {
		return err
	}
	list, err := d.reader.Hits(q.ctx, q.query, step, offset, q.r.Form["field"], top)
	if err != nil {
		return err
	}
	type series struct {
		Fields     json.RawMessage `json:"fields"`
		Timestamps []time.Time     `json:"timestamps"`
		Values     []uint64        `json:"values"`
		Total      uint64          `json:"total"`
	}
	out := make([]series, len(list))
	for i, h := range list {
		out[i] = series{object(h.Fields), h.Times, h.Counts, h.Total}
	}
	return q.json(map[string]any{"hits": out})
}

func (q *request) step() (time.Duration, error) {
	text := q.r.Form.Get("step")
	if text == "" {
		text = defaultStep
	}
	step, err := engine.ParseDuration(text)
	if err == nil && step <= 0 {
		err = fmt.Errorf("%q: want more than 0: %w", text, store.ErrInvalid)
	}
	if err != nil {
		return 0, fmt.Errorf("parameter step: %w", err)
	}
	return step, nil
}

// stats answers in the form of Prometheus' instant and range queries.
func (d *door) stats(q *request) error {
	kind, step := "vector", time.Duration(0)
	if q.name == "stats_query_range" {
		kind = "matrix"
		var err error
		if step, err = q.step(); err != nil {
			return err
		}
	}
	list, err := d.reader.Stats(q.ctx, q.query, step)
	if err != nil {
		return err
	}
	result := []map[string]any{}
	for _, s := range list {
		metric := object(append([]engine.Field{{Name: "__name__", Value: s.Name}}, s.Labels...))
		points := make([][2]any, len(s.Points))
		for i, p := range s.Points {
			seconds := strconv.FormatFloat(float64(p.Time.UnixNano())/1e9, 'f', -1, 64)
			points[i] = [2]any{json.Number(seconds), p.Value}
		}
		if kind == "matrix" {
			result = append(result, map[string]any{"metric": metric, "values": points})
			continue
		}
		for _, p := range points {
			result = append(result, map[string]any{"metric": metric, "value": p})
		}
	}
	return q.json(map[string]any{"status": "success", "data": map[string]any{"resultType": kind, "result": result}})
}

func (d *door) values(q *request, kind engine.Kind) error {
	field := ""
	if kind == engine.FieldValues || kind == engine.StreamFieldValues {
		if field = q.r.Form.Get("field"); field == "" {
			return fmt.Errorf("parameter field is missing: want the name of a field: %w", store.ErrInvalid)
		}
	}
	limit, err := q.count("limit")
	if err != nil {
		return err
	}
	counts, err := d.reader.Values(q.ctx, q.query, kind, field, limit)
	if err != nil {
		return err
	}
	type value struct {
		Value string `json:"value"`
		Hits  uint64 `json:"hits"`
	}
	out := make([]value, len(counts))
	for i, c := range counts {
		out[i] = value{c.Value, c.Count}
	}
	return q.json(map[string]any{"values": out})
}
