package event

import (
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/guanlan-io/guanlan/internal/store"
)

// logDecoder reads rows as log records.
type logDecoder struct{ rowDecoder }

func newLogDecoder() *logDecoder { return &logDecoder{rowDecoder{keyOf: logColumnKey}} }

// record reads the row gathered last.
func (d *logDecoder) record(at int64) (store.LogRow, error) {
	row := store.LogRow{Time: time.Unix(0, at).UTC(), Resource: pcommon.NewResource(), Scope: pcommon.NewInstrumentationScope(), Record: plog.NewLogRecord()}
	var dropped [3]uint32
	if err := d.counts(dropped[:]); err != nil {
		return row, err
	}
	if err := d.attributes(sectionResource, row.Resource.Attributes()); err != nil {
		return row, err
	}
	row.Resource.SetDroppedAttributesCount(dropped[0])
	if err := d.scope(row.Scope, dropped[1]); err != nil {
		return row, err
	}
	r := row.Record
	r.SetDroppedAttributesCount(dropped[2])
	r.SetSeverityNumber(severityNumber(d.fixed[colSeverity]))
	if s := d.fixed[colSeverityRaw]; s != "" {
		u := unpacker{s: s}
		r.SetSeverityNumber(plog.SeverityNumber(u.sint()))
		if u.err != nil {
			return row, u.damage(colSeverityRaw)
		}
	}
	r.SetSeverityText(d.text(colSeverityText))
	d.body(r.Body())
	var trace pcommon.TraceID
	var span pcommon.SpanID
	hex.Decode(trace[:], []byte(d.fixed[colTraceID][:min(2*len(trace), len(d.fixed[colTraceID]))]))
	hex.Decode(span[:], []byte(d.fixed[colLogSpanID][:min(2*len(span), len(d.fixed[colLogSpanID]))]))
	r.SetTraceID(trace)
	r.SetSpanID(span)
	r.SetEventName(d.text(colLogEventName))
	flags, _ := strconv.ParseUint(d.fixed[colLogFlags], 10, 32)
	r.SetFlags(plog.LogRecordFlags(flags))
	r.SetTimestamp(pcommon.Timestamp(at))
	if s := d.fixed[colTimes]; s != "" {
		u := unpacker{s: s}
		r.SetTimestamp(pcommon.Timestamp(u.uint()))
		if u.err != nil {
			return row, u.damage(colTimes)
		}
	}
	if s := d.fixed[colObserved]; s != "" {
		u := unpacker{s: s}
		r.SetObservedTimestamp(pcommon.Timestamp(uint64(at) + uint64(u.sint())))
		if u.err != nil {
			return row, u.damage(colObserved)
		}
	}
	if err := d.attributes(sectionOwn, r.Attributes()); err != nil {
		return row, err
	}
	return row, d.cuts("log.", r.Attributes())
}

func (d *logDecoder) body(v pcommon.Value) {
	code := d.code(sectionBody, "")
	if text, ok := d.fixed[colBody]; ok || code != 0 {
		text = strings.Clone(unguarded(text))
		switch {
		case code == 0:
			v.SetStr(text)
		default:
			putText(v, text, code)
		}
	}
	d.moreBody(v)
}
