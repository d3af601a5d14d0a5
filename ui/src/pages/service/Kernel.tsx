// What the kernel saw of a service: its network, kills, and audit findings.

import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { type Flow, factsOf } from '../../api/kernel'
import { Icon } from '../../components/Icon'
import { Command } from '../../components/States'
import { Time } from '../../components/Time'
import { type Condition, formatFilter } from '../../state/filter'
import { type Texts, useTexts } from '../../state/texts'
import { keepRange, useQuestion } from '../../state/url'
import { bytes, duration, percent } from '../../state/units'
import { ruleCondition } from '../kernel/audit'
import { addressOf, nameOf } from '../kernel/flows'
import { Health } from '../kernel/Parts'
import kernel from '../kernel/Kernel.module.css'
import css from './Kernel.module.css'
import page from './ServicePage.module.css'

/** Lines of each kind; the others are a click away. */
const few = 5

/** Why a flow is not well comes first: there is little room. */
function figures(f: Flow, t: Texts): string {
  return [
    f.failures > 0 && t.kernel.failed(f.failures),
    f.retransmitRatio > 0 && `${t.kernel.retransmits} ${percent(f.retransmitRatio)}`,
    f.connectP99 >= 0 && f.signals.some((s) => s.name === 'tcp.syn_ack') && `${t.kernel.connectP99} ${duration(f.connectP99)}`,
    f.rttP99 >= 0 && `RTT P99 ${duration(f.rttP99)}`,
    f.bytesSent + f.bytesReceived > 0 && bytes(f.bytesSent + f.bytesReceived),
  ].filter(Boolean).join(' · ')
}

/** Left out where no kernel receiver tells anything. */
export function Kernel({ name, alone }: { name: string; alone?: boolean }) {
  const t = useTexts()
  const { start, end } = useQuestion()
  const { data } = useQuery(factsOf(name, { start, end }))
  if (!data?.seen && !data?.profiles.length) return null
  const own: Condition = { field: 'service.name', op: '=', value: name }
  const q = formatFilter([own])
  const bad = data.flows.filter((f) => f.health !== 'ok').length
  const { findings } = data
  return (
    <section className={page.section}>
      <h2>{t.kernel.serviceTitle}</h2>
      {alone && (
        <div className={css.alone}>
          <p>{t.kernel.onlyKernel}</p>
          <Command text="sudo guanlan attach --list" />
        </div>
      )}
      <div className={css.parts}>
        <div className={css.part}>
          <h3>
            {t.kernel.serviceNetwork} <Health level={data.health} />
          </h3>
          <p className={css.line}>
            <Link to="/kernel" search={(last) => ({ ...keepRange(last), q })} title={t.kernel.openNetwork} className={kernel.figure}>
              {data.flows.length === 0 ? t.kernel.noFlows : bad === 0 ? t.kernel.serviceFine(data.flows.length) : t.kernel.serviceTrouble(bad, data.flows.length)}
            </Link>
          </p>
          {data.flows.slice(0, few).map((f) => (
            <Link key={f.id} to="/kernel" search={(last) => ({ ...keepRange(last), q, flow: f.id })} className={css.line}>
              <Health level={f.health} />
              <span className={`cut ${css.ends}`} title={[addressOf(f.source), addressOf(f.target)].filter(Boolean).join(' → ')}>
                {t.kernel.flow(nameOf(f.source), nameOf(f.target))} <span className="dim">{addressOf(f.target) || addressOf(f.source)}</span>
              </span>
              <span className="dim" title={t.kernel.roleHint(f.role, f.host)}>{t.kernel.role[f.role]}</span>
              <span className="dim cut" title={figures(f, t)}>{figures(f, t)}</span>
            </Link>
          ))}
        </div>
        <div className={css.part}>
          <h3>{t.kernel.oom}</h3>
          {data.kills === 0 ? (
            <p className={`${css.line} dim`}>{t.kernel.noKillsShort}</p>
          ) : (
            <>
              <p className={css.line}>
                <Link to="/kernel/oom" search={(last) => ({ ...keepRange(last), q })} title={t.kernel.openKills} className={kernel.bad}>
                  {t.kernel.kills(data.kills)}
                </Link>
              </p>
              {data.oom.slice(0, few).map((s) => (
                <Link key={s.id} to="/kernel/oom" search={(last) => ({ ...keepRange(last), q, log: s.id })} className={css.line}>
                  <span className={kernel.bad}>
                    <Icon name="error" size={14} />
                  </span>
                  <Time at={s.time} form="moment" />
                  <span className="dim cut">{`${bytes(s.rss)} · ${s.ofHost ? s.host : bytes(s.limit)}`}</span>
                </Link>
              ))}
            </>
          )}
        </div>
        <div className={css.part}>
          <h3>{t.kernel.audit}</h3>
          {findings === 0 ? (
            <p className={`${css.line} dim`}>{t.kernel.noFindings}</p>
          ) : (
            <>
              <p className={css.line}>
                <Link to="/kernel/audit" search={(last) => ({ ...keepRange(last), q })} title={t.kernel.openAudit} className={kernel.figure}>
                  {t.kernel.auditFindings(findings)}
                </Link>
              </p>
              {data.rules.slice(0, few).map((r) => (
                <Link key={r.value} to="/kernel/audit" search={(last) => ({ ...keepRange(last), q: formatFilter([own, ruleCondition(r.value)]) })} className={css.line}>
                  <Icon name="shield" size={14} />
                  <span className="cut">{t.kernel.ruleTitle[r.value] ?? r.value.replaceAll('_', ' ')}</span>
                  <span className="dim">{t.count(r.count)}</span>
                </Link>
              ))}
            </>
          )}
        </div>
        {data.profiles.length > 0 && (
          <div className={css.part}>
            <h3>{t.kernel.profilesPart}</h3>
            {data.profiles.map((p) => (
              <Link key={p.type} to="/profiles" search={(last) => ({ ...keepRange(last), q: p.filter, type: p.type })} title={t.kernel.openProfiles} className={css.line}>
                <Icon name="profiles" size={14} />
                <span className="cut">{t.profiles.types[p.type] ?? p.type}</span>
                <span className="dim">{t.profiles.profiles(p.profiles)}</span>
              </Link>
            ))}
          </div>
        )}
      </div>
    </section>
  )
}
