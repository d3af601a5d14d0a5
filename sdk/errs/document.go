package errs

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Format is how a table is written.
type Format string

// Formats of tables.
const (
	Markdown Format = "markdown"
	JSON     Format = "json"
)

// WriteTable writes all codes of the process, by module and number: a document
// to be kept with the service. A test that compares it with the file keeps both
// equal. The error tells of codes that are defined twice, too; then nothing is
// written.
func WriteTable(w io.Writer, f Format) error { return table.Write(w, f) }

// Write is the function WriteTable for this table.
func (t *Table) Write(w io.Writer, f Format) error {
	if err := t.Check(); err != nil {
		return err
	}
	var text []byte
	switch f {
	case Markdown:
		text = markdown(t.Codes())
	case JSON:
		rows := []row{}
		for _, c := range t.Codes() {
			rows = append(rows, c.row())
		}
		b, err := json.MarshalIndent(rows, "", "  ")
		if err != nil {
			return fmt.Errorf("write error table: %w", err)
		}
		text = append(b, '\n')
	default:
		return fmt.Errorf("write error table as %q: want %s or %s", f, Markdown, JSON)
	}
	if _, err := w.Write(text); err != nil {
		return fmt.Errorf("write error table: %w", err)
	}
	return nil
}

// row is a code in JSON.
type row struct {
	Code   string `json:"code"`
	Module string `json:"module"`
	Number int    `json:"number"`
	Class  string `json:"class"`
	Title  string `json:"title"`
	HTTP   int    `json:"http"`
	GRPC   string `json:"grpc"`
	Level  string `json:"level"`
	Doc    string `json:"doc,omitempty"`
	Help   string `json:"help,omitempty"`
}

func (c *Code) row() row {
	return row{c.name, c.module, c.number, c.class.String(), c.title, c.status, grpcNames[c.grpc], c.level.String(), c.doc, c.help}
}

func markdown(codes []*Code) []byte {
	var b strings.Builder
	b.WriteString("# Error codes\n")
	module := ""
	for _, c := range codes {
		if c.module != module {
			module = c.module
			fmt.Fprintf(&b, "\n## %s\n\n| code | class | HTTP | gRPC | level | says | what to do |\n|---|---|---|---|---|---|---|\n", module)
		}
		r := c.row()
		title, help := cell(r.Title), cell(r.Help)
		if r.Doc != "" {
			title = "[" + title + "](" + cell(r.Doc) + ")"
		}
		fmt.Fprintf(&b, "| %s | %s | %d | %s | %s | %s | %s |\n", r.Code, r.Class, r.HTTP, r.GRPC, r.Level, title, help)
	}
	return []byte(b.String())
}

// cell keeps a text within its cell.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\r\n", " ", "\n", " ").Replace(s)
}
