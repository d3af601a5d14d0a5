package api

import (
	"time"

	"github.com/guanlan-io/guanlan/internal/query"
)

// Tenant documents the header that Server reads for all doors.
type Tenant struct {
	Tenant string `header:"X-Scope-OrgID" doc:"Whose data: ACCOUNT or ACCOUNT:PROJECT; default 0." example:"12:3"`
}

// Window is the time range and filter of a question.
type Window struct {
	Tenant
	Start  string `query:"start" doc:"Inclusive: RFC 3339, Unix s/ms/µs/ns, or relative. Default: one hour before end." example:"now-1h"`
	End    string `query:"end" doc:"Exclusive, same forms. Default: now." example:"now"`
	Filter string `query:"filter" maxLength:"16384" doc:"Conditions in the filter grammar; empty matches all." example:"service.name = order and duration > 200ms and status = error"`
}

func (w Window) window(now time.Time) (query.Window, error) {
	from, to, err := between(w.Start, w.End, now)
	return query.Window{Start: from, End: to, Filter: w.Filter}, err
}

// Span is the time range of questions below /api/v1, where it is called from and to.
type Span struct {
	Tenant
	From string `query:"from" doc:"Inclusive: RFC 3339, Unix s/ms/µs/ns, or relative. Default: one hour before to." example:"now-1h"`
	To   string `query:"to" doc:"Exclusive, same forms. Default: now." example:"now"`
}

func (s Span) window(filter string, now time.Time) (query.Window, error) {
	return windowOf("from", s.From, "to", s.To, filter, now)
}

// Steps asks for series of so many points.
type Steps struct {
	Steps int `query:"steps" minimum:"0" maximum:"500" default:"30" doc:"Points of each series; 0 leaves series out."`
}

// Columns asks for so many time steps.
type Columns struct {
	Columns int `query:"columns" minimum:"1" maximum:"1000" default:"120" doc:"About how many time steps."`
}

// Paging asks for a page of a list.
type Paging struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"50" doc:"Rows of the page."`
	Cursor string `query:"cursor" maxLength:"16384" doc:"The next member of the page before; empty starts at the newest."`
}

func (p Paging) page() query.Page { return query.Page{Limit: p.Limit, Cursor: p.Cursor} }

type servicesInput struct {
	Window
	Steps
}

type serviceInput struct {
	Service string `path:"service" doc:"service.name." example:"order"`
	Window
	Steps
}

type graphInput struct {
	Window
	Focus string `query:"focus" doc:"Only this service and its neighbours." example:"order"`
}

type listInput struct {
	Window
	Paging
}

type traceInput struct {
	Tenant
	TraceID string `path:"traceId" doc:"32 hexadecimal digits; shorter ids are filled with zeros on the left." example:"4bf92f3577b34da6a3ce929d0e0e4736"`
	Near    string `query:"near" doc:"A time close to the trace, in the forms of start; makes the search faster." example:"now-10m"`
}

type chartInput struct {
	Window
	Columns
}

type compareInput struct {
	Window
	SelStart  string `query:"selStart" doc:"Start of the selection, in the forms of start. Default: start." example:"now-20m"`
	SelEnd    string `query:"selEnd" doc:"End of the selection. Default: end." example:"now-10m"`
	SelMinNs  int64  `query:"selMinNs" minimum:"0" doc:"Shortest duration in the selection, nanoseconds; 0: no bound." example:"200000000"`
	SelMaxNs  int64  `query:"selMaxNs" minimum:"0" doc:"Durations in the selection are below this, nanoseconds; 0: no bound." example:"2000000000"`
	SelFilter string `query:"selFilter" maxLength:"16384" doc:"More conditions on the selection." example:"status = error"`
}

type fieldsInput struct {
	Signal query.Signal `path:"signal" enum:"traces,logs,profiles" doc:"Kind of telemetry."`
	Window
}

type valuesInput struct {
	Signal query.Signal `path:"signal" enum:"traces,logs,profiles" doc:"Kind of telemetry."`
	Window
	Field  string `query:"field" required:"true" minLength:"1" maxLength:"256" doc:"Field as in filters." example:"service.name"`
	Prefix string `query:"prefix" doc:"Only values that start so." example:"ord"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"Most frequent values returned."`
}

type contextInput struct {
	Tenant
	ID string `query:"id" required:"true" minLength:"1" maxLength:"4096" doc:"The id member of a record." example:"0d2c…"`
	N  int    `query:"n" minimum:"1" maximum:"500" default:"20" doc:"Records before and after."`
}

type tailInput struct {
	Tenant
	Filter string `query:"filter" maxLength:"16384" doc:"Conditions in the filter grammar; empty matches all." example:"service.name = order and severity >= warn"`
}

type relatedInput struct {
	Tenant
	Service string `query:"service" doc:"service.name of what is selected." example:"order"`
	TraceID string `query:"traceId" doc:"Trace of what is selected." example:"4bf92f3577b34da6a3ce929d0e0e4736"`
	SpanID  string `query:"spanId" doc:"Span of what is selected." example:"00f067aa0ba902b7"`
	Start   string `query:"start" doc:"In the forms of start elsewhere. Default: one hour before end." example:"now-1h"`
	End     string `query:"end" doc:"Exclusive. Default: now." example:"now"`
}
