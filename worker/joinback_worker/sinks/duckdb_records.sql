-- For DuckDB 1.3 or newer, over what the delta, parquet and jsonl sinks hold: one row per (application, join_key),
-- the union of its events, folded by the law of fold.py and row.py, with the settings of the day it was printed.
CREATE OR REPLACE VIEW events AS
SELECT * FROM {source};

CREATE OR REPLACE VIEW records AS
WITH
policies(policy_of, reducers, maturity_s, default_feedback) AS ({policies}),
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
-- What counts: within the join window of the prediction, and not taken back.
weighed AS (
    SELECT
        *,
        list_filter(
            flatten(list_transform(
                list_filter(said, lambda e: first IS NULL OR e.t <= first.t + {join_window_s} * 1e6),
                lambda e: list_transform(
                    list_zip(e.fields, e.told), lambda told: {{'t': e.t, 'name': told[1], 'value': told[2]}}))),
            lambda f: len(list_filter(
                taken_back, lambda r: (r.everything OR list_contains(r.fields, f.name)) AND r.t >= f.t)) = 0
        ) AS counted
    FROM gathered LEFT JOIN policies ON policy_of = application
),
-- Each field's values in their order, and the numbers among them with the text they came in.
by_field AS (
    SELECT
        *,
        list_aggregate(list_transform(counted, lambda f: f.t), 'min') AS first_t,
        list_aggregate(list_transform(counted, lambda f: f.t), 'max') AS last_t,
        list_transform(list_sort(list_distinct(list_transform(counted, lambda f: f.name))), lambda name: {{
            'name': name,
            'reducer': coalesce(reducers[name], 'last'),
            'told': list_transform(list_filter(counted, lambda f: f.name = name), lambda f: f.value),
            'numbers': list_filter(list_transform(list_filter(counted, lambda f: f.name = name), lambda f: {{
                'text': CASE f.value WHEN 'true' THEN '1' WHEN 'false' THEN '0' ELSE f.value END,
                'n': CASE WHEN f.value = 'true' THEN 1e0 WHEN f.value = 'false' THEN 0e0
                          WHEN regexp_matches(f.value, '^-?[0-9]') THEN TRY_CAST(f.value AS DOUBLE) END
            }}), lambda n: n.n IS NOT NULL AND isfinite(n.n))
        }}) AS fields,
        first IS NOT NULL AND len(counted) = 0
            AND coalesce(first.t < epoch_us(now()) - maturity_s * 1e6, false) AS is_unlabelled
    FROM weighed
)
SELECT
    application,
    join_key,
    CASE WHEN first IS NULL THEN 'orphan' WHEN len(counted) > 0 THEN 'joined'
         WHEN is_unlabelled THEN 'unlabelled' ELSE 'predicted' END AS status,
    CASE WHEN first IS NULL THEN said[-1].environment ELSE first.environment END AS environment,
    CASE WHEN first IS NULL THEN said[-1].version ELSE first.version END AS version,
    first.event_at AS predicted_at,
    first.inputs::JSON AS inputs,
    first.outputs::JSON AS outputs,
    first.tags::JSON AS tags,
    CASE
        WHEN len(counted) > 0 THEN '{{' || array_to_string(list_transform(fields, lambda g: to_json(g.name) || ':' || CASE
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
        END), ',') || '}}'
        WHEN is_unlabelled THEN default_feedback
    END::JSON AS feedback,
    is_unlabelled AND default_feedback IS NOT NULL AS feedback_is_default,
    make_timestamptz(last_t) AS feedback_at,
    make_timestamptz(first_t) AS first_feedback_at,
    (first_t - first.t) / 1e6 AS feedback_delay_s,
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
