// CodeMirror with Prometheus' own language package: highlighting, completion
// from the server's metrics and labels, and marks under mistakes.

import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap, completionStatus } from '@codemirror/autocomplete'
import { defaultKeymap, history, historyKeymap, insertNewlineAndIndent } from '@codemirror/commands'
import { bracketMatching, HighlightStyle, syntaxHighlighting } from '@codemirror/language'
import { lintKeymap } from '@codemirror/lint'
import { EditorState } from '@codemirror/state'
import { EditorView, keymap, placeholder } from '@codemirror/view'
import { tags } from '@lezer/highlight'
import { PromQLExtension } from '@prometheus-io/codemirror-promql'
import { useEffect, useRef } from 'react'
import { useKeys } from '../../state/keys'
import { useTexts } from '../../state/texts'
import css from './PromEditor.module.css'

interface Props {
  value: string
  onRun: (expr: string) => void
  /** Each change, so that a Run button knows what stands in the editor. */
  onChange: (expr: string) => void
}

export function PromEditor({ value, onRun, onChange }: Props) {
  const t = useTexts()
  const host = useRef<HTMLDivElement>(null)
  const view = useRef<EditorView>(undefined)
  const latest = useRef({ onRun, onChange })
  useEffect(() => {
    latest.current = { onRun, onChange }
  })
  useKeys({ '/': () => view.current?.focus() })

  useEffect(() => {
    // In a shadow root CodeMirror adopts its styles instead of writing style
    // elements, which the content security policy forbids.
    const root = host.current!.shadowRoot ?? host.current!.attachShadow({ mode: 'open' })
    const promql = new PromQLExtension().setComplete({ remote: { url: '', httpMethod: 'GET' } }).activateLinter(true)
    const editor = new EditorView({
      root,
      parent: root,
      state: EditorState.create({
        doc: value,
        extensions: [
          history(),
          promql.asExtension(),
          autocompletion(),
          closeBrackets(),
          bracketMatching(),
          syntaxHighlighting(colours),
          EditorView.lineWrapping,
          placeholder(t.metrics.placeholder),
          EditorView.contentAttributes.of({ 'aria-label': t.metrics.query, spellcheck: 'false' }),
          theme,
          keymap.of([
            {
              key: 'Enter',
              run: (v) => {
                if (completionStatus(v.state) === 'active') return false
                latest.current.onRun(v.state.doc.toString())
                return true
              },
              shift: insertNewlineAndIndent,
            },
            {
              key: 'Escape',
              run: (v) => {
                if (completionStatus(v.state) !== null) return false
                v.contentDOM.blur()
                return true
              },
            },
            ...closeBracketsKeymap,
            ...completionKeymap,
            ...historyKeymap,
            ...lintKeymap,
            ...defaultKeymap,
          ]),
          EditorView.updateListener.of((u) => u.docChanged && latest.current.onChange(u.state.doc.toString())),
        ],
      }),
    })
    view.current = editor
    return () => {
      promql.destroy()
      editor.destroy()
      view.current = undefined
    }
    // eslint-disable-next-line react-hooks/exhaustive-deps -- value is set below without building the editor anew
  }, [t])

  useEffect(() => {
    const editor = view.current
    if (editor && editor.state.doc.toString() !== value) editor.dispatch({ changes: { from: 0, to: editor.state.doc.length, insert: value } })
  }, [value])

  return <div ref={host} className={css.host} data-editor="promql" />
}

const colours = HighlightStyle.define([
  { tag: tags.name, color: 'var(--ink)' },
  { tag: [tags.function(tags.variableName), tags.keyword, tags.modifier], color: 'var(--accent)' },
  { tag: tags.labelName, color: 'var(--good)' },
  { tag: tags.string, color: 'var(--warn)' },
  { tag: [tags.number, tags.literal], color: 'var(--ink-2)' },
  { tag: tags.operator, color: 'var(--ink-2)' },
  { tag: tags.comment, color: 'var(--ink-3)', fontStyle: 'italic' },
  { tag: tags.invalid, color: 'var(--bad)' },
])

const theme = EditorView.theme({
  '&': { fontSize: '13px', maxHeight: '160px', color: 'var(--ink)' },
  '&.cm-focused': { outline: 'none' },
  '.cm-scroller': { fontFamily: 'var(--mono)', overflow: 'auto', lineHeight: '20px' },
  '.cm-content': { padding: '5px 8px', caretColor: 'var(--ink)' },
  '.cm-line': { padding: '0' },
  '.cm-cursor': { borderLeftColor: 'var(--ink)' },
  '.cm-placeholder': { color: 'var(--ink-3)' },
  '&.cm-focused .cm-selectionBackground, .cm-selectionBackground': { background: 'var(--accent-soft) !important' },
  '&.cm-focused .cm-matchingBracket': { background: 'var(--hover)', outline: '1px solid var(--line-strong)' },
  '.cm-tooltip': { background: 'var(--panel)', color: 'var(--ink)', border: '1px solid var(--line)', borderRadius: '6px', boxShadow: 'var(--shadow)', overflow: 'hidden' },
  '.cm-tooltip.cm-tooltip-autocomplete > ul': { fontFamily: 'var(--mono)', fontSize: '12px', maxHeight: '280px', minWidth: '320px' },
  '.cm-tooltip.cm-tooltip-autocomplete > ul > li': { padding: '3px 8px', lineHeight: '18px' },
  '.cm-tooltip-autocomplete > ul > li[aria-selected]': { background: 'var(--accent-soft) !important', color: 'var(--ink) !important' },
  '.cm-completionMatchedText': { textDecoration: 'none', fontWeight: '700' },
  '.cm-completionDetail': { color: 'var(--ink-3)', fontStyle: 'normal', marginLeft: '12px' },
  '.cm-completionInfo': { padding: '6px 8px', maxWidth: '360px', font: '12px/18px var(--font)' },
  '.cm-completionIcon': { display: 'none' },
  '.cm-diagnostic': { padding: '4px 8px', font: '12px/18px var(--font)' },
})
