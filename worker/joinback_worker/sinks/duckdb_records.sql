-- For DuckDB 1.3 or newer, over what the delta, parquet and jsonl sinks hold: one row per (application, join_key),
-- the union of its events, folded by the law of fold.py and row.py, with the settings of the day it was printed.
CREATE OR REPLACE VIEW events AS
SELECT * FROM {source};

CREATE OR REPLACE VIEW records AS
WITH
-- What is declared of each application; `fields` are rules by feedback field, JSON of the default among them.
policies(policy_of, join_window_s, maturity_s, labels, fields) AS ({policies}),
-- Each event once: of several, the one with the smallest digest.
one AS (
    SELECT
        application, join_key, kind, event_id,
        arg_min({{
            't': ordered_at_us, 'id': event_id, 'event_at': event_at, 'logged_at': logged_at, 'version': version,
            'environment': environment, 'tags': tags, 'event': event, 'inputs': inputs, 'outputs': outputs,
            'sample_rate': sample_rate, 'fields': fields, 'told': field_values, 'everything': all_fields
        }}, digest) AS e,
        max(written_at) AS written_at
    FROM events
    GROUP BY application, join_key, kind, event_id
),
gathered AS (
    SELECT
        application, join_key,
        arg_min(e, {{'t': e.t, 'id': event_id}}) FILTER (kind = 'prediction') AS first,
        coalesce(list(e ORDER BY e.t, event_id) FILTER (kind = 'prediction'), []) AS predictions,
        coalesce(list(e ORDER BY e.t, event_id) FILTER (kind = 'feedback'), []) AS said,
        coalesce(list(e ORDER BY e.t, event_id) FILTER (kind = 'retraction'), []) AS taken_back,
        bool_or(e.t != epoch_us(e.event_at)) AS clock_skew,
        max(written_at) AS updated_at,
        count(*) AS row_version
    FROM one
    GROUP BY application, join_key
),
-- What retractions name, and which of them a later one takes back: from the latest on, each that stands takes back
-- those of the earlier ones that it names.
named AS (
    SELECT
        *,
        list_transform(taken_back, lambda r: {{
            't': r.t, 'id': r.id, 'fields': r.fields, 'everything': r.everything,
            'by_name': starts_with(r.event::VARCHAR, '{{"v":2'),
            'event_ids': CASE WHEN starts_with(r.event::VARCHAR, '{{"v":2')
                THEN coalesce(from_json(r.event::JSON->'event_ids', '["VARCHAR"]'), []) ELSE [] END
        }}) AS retractions,
        CASE WHEN len(taken_back) > 0 THEN list_reduce(
            list_transform(list_reverse(taken_back), lambda r: {{'id': r.id, 'void': []::VARCHAR[], 'named':
                CASE WHEN starts_with(r.event::VARCHAR, '{{"v":2')
                THEN coalesce(from_json(r.event::JSON->'retraction_ids', '["VARCHAR"]'), []) ELSE [] END}}),
            lambda later, r: {{
                'id': r.id,
                'void': CASE WHEN list_contains(later.named, r.id) THEN later.void || [r.id] ELSE later.void END,
                'named': CASE WHEN list_contains(later.named, r.id) THEN later.named ELSE later.named || r.named END
            }}
        ).void ELSE [] END AS void
    FROM gathered LEFT JOIN policies ON policy_of = application
),
-- What was told within the join window and not taken back, as a value of the declared type where that loses nothing.
told AS (
    SELECT
        * EXCLUDE (fields),
        coalesce(fields, MAP {{}}) AS rules,
        list_filter(
            flatten(list_transform(
                list_filter(said, lambda e:
                    first IS NULL OR e.t <= first.t + coalesce(join_window_s, {join_window_s}) * 1e6),
                lambda e: list_transform(list_zip(e.fields, e.told), lambda told: {{
                    't': e.t, 'id': e.id, 'name': told[1],
                    'value': CASE fields[told[1]].scalar
                        WHEN 'bool' THEN CASE
                            WHEN lower(told[2]) IN ('true', '"true"', '1', '"1"', '1.0') THEN 'true'
                            WHEN lower(told[2]) IN ('false', '"false"', '0', '"0"', '0.0') THEN 'false' ELSE told[2] END
                        WHEN 'int' THEN coalesce(nullif(regexp_extract(
                            told[2], '^"?(-?(?:0|[1-9][0-9]*))(?:\.0+)?"?$', 1), ''), told[2])
                        WHEN 'float' THEN coalesce(nullif(regexp_extract(
                            told[2], '^"(-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{{1,2}})?)"$', 1), ''), told[2])
                        WHEN 'str' THEN CASE WHEN told[2] = 'null' OR left(told[2], 1) IN ('"', '{{', '[')
                            THEN told[2] ELSE '"' || told[2] || '"' END
                        ELSE told[2] END,
                    'rank': CASE WHEN len(fields[told[1]].sources) > 0 AND starts_with(e.event::VARCHAR, '{{"v":2')
                            AND list_contains(fields[told[1]].sources, e.event::JSON->>'source')
                        THEN list_position(fields[told[1]].sources, e.event::JSON->>'source')
                        ELSE coalesce(len(fields[told[1]].sources), 0) + 1 END
                }})
            )),
            lambda f: len(list_filter(retractions, lambda r: NOT list_contains(void, r.id)
                AND (r.everything OR list_contains(r.fields, f.name))
                AND CASE WHEN r.by_name THEN list_contains(r.event_ids, f.id) ELSE r.t >= f.t END)) = 0
        ) AS all_told
    FROM named
),
-- Of each field the values of its best source, and what nobody told in time.
weighed AS (
    SELECT
        *,
        CASE WHEN len(list_filter(all_told, lambda f: f.rank != all_told[1].rank)) = 0 THEN all_told
        ELSE list_filter(all_told, lambda f:
            f.rank = list_min(list_transform(list_filter(all_told, lambda g: g.name = f.name), lambda g: g.rank)))
        END AS counted,
        list_transform(
            list_filter(all_told, lambda f: coalesce(len(labels), 0) = 0 OR list_contains(labels, f.name)),
            lambda f: f.name) AS told_labels,
        list_filter(map_entries(rules), lambda r: first IS NOT NULL AND r.value."default" IS NOT NULL
            AND first.t < epoch_us(now()) - r.value.maturity_s * 1e6
            AND len(list_filter(all_told, lambda f: f.name = r.key)) = 0) AS defaults
    FROM told
),
-- Each field's values in their order, and the numbers among them with the text they came in.
by_field AS (
    SELECT
        *,
        list_aggregate(list_transform(counted, lambda f: f.t), 'min') AS first_t,
        list_aggregate(list_transform(counted, lambda f: f.t), 'max') AS last_t,
        list_min(list_transform(
            list_filter(counted, lambda f: list_contains(told_labels, f.name)), lambda f: f.t)) AS first_label_t,
        list_transform(list_sort(list_distinct(list_transform(counted, lambda f: f.name))), lambda name: {{
            'name': name,
            'reducer': coalesce(rules[name].reducer, 'last'),
            'first_t': list_min(list_transform(list_filter(counted, lambda f: f.name = name), lambda f: f.t)),
            'last_t': list_max(list_transform(list_filter(counted, lambda f: f.name = name), lambda f: f.t)),
            'told': list_transform(list_filter(counted, lambda f: f.name = name), lambda f: f.value),
            'numbers': list_filter(list_transform(list_filter(counted, lambda f: f.name = name), lambda f: {{
                'text': CASE f.value WHEN 'true' THEN '1' WHEN 'false' THEN '0' ELSE f.value END,
                'n': CASE WHEN f.value = 'true' THEN 1e0 WHEN f.value = 'false' THEN 0e0
                          WHEN regexp_matches(f.value, '^-?[0-9]') THEN TRY_CAST(f.value AS DOUBLE) END
            }}), lambda n: n.n IS NOT NULL AND isfinite(n.n))
        }}) AS fields,
        first IS NOT NULL AND len(told_labels) = 0
            AND coalesce(first.t < epoch_us(now()) - maturity_s * 1e6, false) AS is_unlabelled
    FROM weighed
)
SELECT
    application,
    join_key,
    CASE WHEN first IS NULL THEN 'orphan' WHEN len(told_labels) > 0 THEN 'joined'
         WHEN is_unlabelled THEN 'unlabelled' ELSE 'predicted' END AS status,
    CASE WHEN first IS NULL THEN said[-1].environment ELSE first.environment END AS environment,
    CASE WHEN first IS NULL THEN said[-1].version ELSE first.version END AS version,
    first.event_at AS predicted_at,
    first.inputs::JSON AS inputs,
    first.outputs::JSON AS outputs,
    first.tags::JSON AS tags,
    CASE
        WHEN len(counted) + len(defaults) > 0 THEN '{{' || array_to_string(list_transform(list_sort(list_concat(
            list_transform(defaults, lambda r: {{'name': r.key, 'text': r.value."default"}}),
            list_transform(fields, lambda g: {{'name': g.name, 'text': CASE
            WHEN g.reducer = 'first' THEN g.told[1]
            WHEN g.reducer = 'count' THEN len(list_filter(g.told, lambda v: v != 'null'))::VARCHAR
            -- The most frequent; of several, the one told last.
            WHEN g.reducer = 'majority' THEN list_sort(list_transform(g.told, lambda v, i: {{
                'count': len(list_filter(g.told, lambda other: other = v)), 'place': i, 'value': v}}))[-1].value
            WHEN g.reducer NOT IN ('sum', 'mean', 'min', 'max') THEN g.told[-1]
            WHEN len(g.numbers) = 0 THEN 'null'
            WHEN g.reducer = 'min' THEN list_sort(list_transform(g.numbers, lambda n: {{'n': n.n, 'text': n.text}}))[1].text
            WHEN g.reducer = 'max' THEN list_sort(list_transform(g.numbers, lambda n: {{'n': n.n, 'text': n.text}}))[-1].text
            WHEN g.reducer = 'mean' THEN
                (list_aggregate(list_transform(g.numbers, lambda n: n.n), 'fsum') / len(g.numbers))::VARCHAR
            WHEN len(list_filter(g.numbers, lambda n: NOT regexp_matches(n.text, '^-?[0-9]{{1,36}}$'))) = 0 THEN
                list_sum(list_transform(g.numbers, lambda n: n.text::HUGEINT))::HUGEINT::VARCHAR
            ELSE list_aggregate(list_transform(g.numbers, lambda n: n.n), 'fsum')::VARCHAR
            END}}))), lambda v: to_json(v.name) || ':' || v.text), ',') || '}}'
    END::JSON AS feedback,
    CASE WHEN len(defaults) > 0 THEN to_json(list_sort(list_transform(defaults, lambda r: r.key))) END AS default_fields,
    CASE WHEN len(fields) > 0 THEN '{{' || array_to_string(list_transform(fields, lambda g: to_json(g.name)
        || ':{{"first":"' || strftime(make_timestamp(g.first_t), '%Y-%m-%dT%H:%M:%S.%fZ')
        || '","last":"' || strftime(make_timestamp(g.last_t), '%Y-%m-%dT%H:%M:%S.%fZ') || '"}}'), ',') || '}}'
    END::JSON AS field_times,
    make_timestamptz(last_t) AS feedback_at,
    make_timestamptz(first_t) AS first_feedback_at,
    (first_label_t - first.t) / 1e6 AS feedback_delay_s,
    CASE WHEN len(said) + len(taken_back) > 0 THEN '{{' || array_to_string(
        list_transform(said, lambda e: to_json('feedback:' || e.id) || ':' || e.event)
        || list_transform(taken_back, lambda e: to_json('retraction:' || e.id) || ':' || e.event), ',') || '}}'
    END::JSON AS feedback_events,
    CASE WHEN len(predictions) > 1 THEN '{{' || array_to_string(list_transform(predictions[2:], lambda e:
        to_json('prediction:' || e.id) || ':' || left(e.event, len(e.event) - 1)
        || ',"inputs":' || e.inputs || ',"outputs":' || e.outputs
        || CASE WHEN e.sample_rate = 1 THEN '}}' ELSE ',"sample_rate":' || e.sample_rate || '}}' END), ',') || '}}'
    END::JSON AS conflicts,
    first.sample_rate AS sample_rate,
    clock_skew,
    first.logged_at AS logged_at,
    first.id AS prediction_event_id,
    updated_at,
    row_version
FROM by_field;
