-- For DuckDB 1.4 or newer, over what the delta, parquet and jsonl sinks hold: one row per (application, join_key),
-- the union of its events, folded by the law of fold.py and row.py, with the settings of the day it was printed.
CREATE OR REPLACE VIEW events AS
SELECT * FROM {source};

CREATE OR REPLACE VIEW records AS
WITH
-- What is declared of each application; `rules` are by feedback field, JSON of the default among them.
policies(policy_of, join_window_s, maturity_s, labels, rules) AS ({policies}),
-- Nearly every key is plain: one prediction and one feedback event at most, each maybe repeated, nothing taken back.
-- One aggregate of single values folds those, so it may spill; not materialized, so it reads what the query asks for.
-- An event is told from others by the digest of its content; by its id where two ids say the same.
keys AS NOT MATERIALIZED (
    SELECT
        application, join_key,
        NOT bool_or(kind = 'retraction')
            AND min(digest) FILTER (kind = 'prediction') IS NOT DISTINCT FROM max(digest) FILTER (kind = 'prediction')
            AND min(digest) FILTER (kind = 'feedback') IS NOT DISTINCT FROM max(digest) FILTER (kind = 'feedback')
            AND min(hash(event_id)) FILTER (kind = 'prediction')
                IS NOT DISTINCT FROM max(hash(event_id)) FILTER (kind = 'prediction')
            AND min(hash(event_id)) FILTER (kind = 'feedback')
                IS NOT DISTINCT FROM max(hash(event_id)) FILTER (kind = 'feedback') AS is_plain,
        any_value(ordered_at_us) FILTER (kind = 'prediction') AS winner_t,
        any_value(event_id) FILTER (kind = 'prediction') AS winner_id,
        any_value(event_at) FILTER (kind = 'prediction') AS winner_at,
        any_value(logged_at) FILTER (kind = 'prediction') AS winner_logged_at,
        any_value(version) FILTER (kind = 'prediction') AS winner_version,
        any_value(environment) FILTER (kind = 'prediction') AS winner_environment,
        any_value(tags) FILTER (kind = 'prediction') AS tags,
        any_value(inputs) FILTER (kind = 'prediction') AS inputs,
        any_value(outputs) FILTER (kind = 'prediction') AS outputs,
        any_value(sample_rate) FILTER (kind = 'prediction') AS sample_rate,
        any_value(ordered_at_us) FILTER (kind = 'feedback') AS said_t,
        any_value(event_id) FILTER (kind = 'feedback') AS said_id,
        any_value(version) FILTER (kind = 'feedback') AS said_version,
        any_value(environment) FILTER (kind = 'feedback') AS said_environment,
        any_value(event) FILTER (kind = 'feedback') AS said_event,
        bool_or(CASE WHEN coalesce(len(labels), 0) = 0 THEN len(fields) > 0 ELSE list_has_any(fields, labels) END)
            FILTER (kind = 'feedback') AS tells_a_label,
        any_value(fields) FILTER (kind = 'feedback') AS said_fields,
        any_value(field_values) FILTER (kind = 'feedback') AS said_values,
        bool_or(ordered_at_us != epoch_us(event_at)) AS clock_skew,
        max(written_at) AS updated_at
    FROM events LEFT JOIN policies ON policy_of = application
    GROUP BY application, join_key
),
plain AS (
    SELECT
        *,
        said_t IS NOT NULL AND (winner_t IS NULL OR said_t <= winner_t + coalesce(join_window_s, {join_window_s}) * 1e6)
            AS is_in_time,
        is_in_time AND tells_a_label AS is_labelled,
        CASE WHEN is_in_time THEN said_fields ELSE [] END AS names
    FROM keys LEFT JOIN policies ON policy_of = application
    WHERE is_plain
),
-- The other keys. Each event once: of several, the one with the smallest digest. `e` decides, `shown` is only shown.
one AS (
    SELECT
        application, join_key, kind, event_id,
        arg_min({{
            't': ordered_at_us, 'id': event_id, 'fields': fields, 'told': field_values, 'everything': all_fields,
            'event': event
        }}, digest) AS e,
        arg_min({{
            't': ordered_at_us, 'id': event_id, 'event_at': event_at, 'logged_at': logged_at, 'version': version,
            'environment': environment, 'tags': tags, 'event': event, 'inputs': inputs, 'outputs': outputs,
            'sample_rate': sample_rate
        }}, digest) AS shown,
        max(written_at) AS written_at
    FROM events JOIN (SELECT application, join_key FROM keys WHERE NOT is_plain) USING (application, join_key)
    GROUP BY application, join_key, kind, event_id
),
-- Lists in the order of what each struct begins with: (t, id).
gathered AS (
    SELECT
        application, join_key,
        min(e.t) FILTER (kind = 'prediction') AS winner_t,
        coalesce(list_sort(list(shown) FILTER (kind = 'prediction')), []) AS predictions,
        coalesce(list_sort(list(e) FILTER (kind = 'feedback')), []) AS said,
        coalesce(list_sort(list(e) FILTER (kind = 'retraction')), []) AS taken_back,
        list_sort(list(shown) FILTER (kind = 'feedback'))[-1] AS last_said,
        bool_or(e.t != epoch_us(shown.event_at)) AS clock_skew,
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
        predictions[1] AS winner,
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
-- What was told within the join window and not taken back.
told AS (
    SELECT
        *,
        list_filter(
            flatten(list_transform(
                list_filter(said, lambda e:
                    winner_t IS NULL OR e.t <= winner_t + coalesce(join_window_s, {join_window_s}) * 1e6),
                lambda e: list_transform(list_zip(e.fields, e.told), lambda told: {{
                    't': e.t, 'id': e.id, 'name': told[1], 'value': told[2],
                    'rank': CASE WHEN len(rules[told[1]].sources) > 0 AND starts_with(e.event::VARCHAR, '{{"v":2')
                            AND list_contains(rules[told[1]].sources, e.event::JSON->>'source')
                        THEN list_position(rules[told[1]].sources, e.event::JSON->>'source')
                        ELSE coalesce(len(rules[told[1]].sources), 0) + 1 END
                }})
            )),
            lambda f: len(list_filter(retractions, lambda r: NOT list_contains(void, r.id)
                AND (r.everything OR list_contains(r.fields, f.name))
                AND CASE WHEN r.by_name THEN list_contains(r.event_ids, f.id) ELSE r.t >= f.t END)) = 0
        ) AS all_told
    FROM named
),
-- Of each field the values of its best source, in their order.
weighed AS (
    SELECT
        *,
        list_sort(list_distinct(list_transform(all_told, lambda f: f.name))) AS names,
        CASE WHEN len(list_filter(all_told, lambda f: f.rank != all_told[1].rank)) = 0 THEN all_told
        ELSE list_filter(all_told, lambda f:
            f.rank = list_min(list_transform(list_filter(all_told, lambda g: g.name = f.name), lambda g: g.rank)))
        END AS counted
    FROM told
),
folded AS (
    SELECT
        application, join_key, rules, maturity_s, winner_t, winner_id, winner_at, winner_logged_at,
        CASE WHEN winner_t IS NULL THEN said_version ELSE winner_version END AS version,
        CASE WHEN winner_t IS NULL THEN said_environment ELSE winner_environment END AS environment,
        inputs, outputs, tags, sample_rate,
        names,
        CASE WHEN len(names) > 0 THEN list_transform(list_sort(list_zip(names, said_values)), lambda told: {{
            'name': told[1], 'first_t': said_t, 'last_t': said_t, 'told': [told[2]]
        }}) ELSE [] END AS fields,
        CASE WHEN len(names) > 0 THEN said_t END AS first_t,
        first_t AS last_t,
        is_labelled,
        said_t AS first_label_t,
        '{{' || to_json('feedback:' || said_id) || ':' || said_event || '}}' AS feedback_events,
        NULL AS conflicts,
        clock_skew, updated_at,
        (winner_t IS NOT NULL)::BIGINT + (said_t IS NOT NULL)::BIGINT AS row_version
    FROM plain
    UNION ALL
    SELECT
        application, join_key, rules, maturity_s, winner_t, winner.id, winner.event_at, winner.logged_at,
        CASE WHEN winner_t IS NULL THEN last_said.version ELSE winner.version END,
        CASE WHEN winner_t IS NULL THEN last_said.environment ELSE winner.environment END,
        winner.inputs, winner.outputs, winner.tags, winner.sample_rate,
        names,
        list_transform(names, lambda name: {{
            'name': name,
            'first_t': list_min(list_transform(list_filter(counted, lambda f: f.name = name), lambda f: f.t)),
            'last_t': list_max(list_transform(list_filter(counted, lambda f: f.name = name), lambda f: f.t)),
            'told': list_transform(list_filter(counted, lambda f: f.name = name), lambda f: f.value)
        }}),
        list_min(list_transform(counted, lambda f: f.t)),
        list_max(list_transform(counted, lambda f: f.t)),
        CASE WHEN coalesce(len(labels), 0) = 0 THEN len(names) > 0 ELSE list_has_any(names, labels) END,
        list_min(list_transform(list_filter(counted, lambda f:
            coalesce(len(labels), 0) = 0 OR list_contains(labels, f.name)), lambda f: f.t)),
        CASE WHEN len(said) + len(taken_back) > 0 THEN '{{' || array_to_string(
            list_transform(said, lambda e: to_json('feedback:' || e.id) || ':' || e.event)
            || list_transform(taken_back, lambda e: to_json('retraction:' || e.id) || ':' || e.event), ',') || '}}'
        END,
        CASE WHEN len(predictions) > 1 THEN '{{' || array_to_string(list_transform(predictions[2:], lambda e:
            to_json('prediction:' || e.id) || ':' || left(e.event, len(e.event) - 1)
            || ',"inputs":' || e.inputs || ',"outputs":' || e.outputs
            || CASE WHEN e.sample_rate = 1 THEN '}}' ELSE ',"sample_rate":' || e.sample_rate || '}}' END), ',') || '}}'
        END,
        clock_skew, updated_at, row_version
    FROM weighed
),
-- Each field's values as ones of the declared type where that loses nothing, and what nobody told in time.
typed AS (
    SELECT
        * REPLACE (list_transform(fields, lambda g: {{
            'name': g.name,
            'reducer': coalesce(rules[g.name].reducer, 'last'),
            'first_t': g.first_t,
            'last_t': g.last_t,
            'told': list_transform(g.told, lambda value: CASE rules[g.name].scalar
                WHEN 'bool' THEN CASE
                    WHEN lower(value) IN ('true', '"true"', '1', '"1"', '1.0') THEN 'true'
                    WHEN lower(value) IN ('false', '"false"', '0', '"0"', '0.0') THEN 'false' ELSE value END
                WHEN 'int' THEN coalesce(nullif(regexp_extract(
                    value, '^"?(-?(?:0|[1-9][0-9]*))(?:\.0+)?"?$', 1), ''), value)
                WHEN 'float' THEN coalesce(nullif(regexp_extract(
                    value, '^"(-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{{1,2}})?)"$', 1), ''), value)
                WHEN 'str' THEN CASE WHEN value = 'null' OR left(value, 1) IN ('"', '{{', '[')
                    THEN value ELSE '"' || value || '"' END
                ELSE value END)
        }}) AS fields),
        list_filter(map_entries(coalesce(rules, MAP {{}})), lambda r: winner_t IS NOT NULL AND r.value."default" IS NOT NULL
            AND winner_t < epoch_us(now()) - r.value.maturity_s * 1e6
            AND NOT list_contains(names, r.key)) AS defaults,
        winner_t IS NOT NULL AND NOT is_labelled
            AND coalesce(winner_t < epoch_us(now()) - maturity_s * 1e6, false) AS is_unlabelled
    FROM folded
),
-- The numbers among them with the text they came in.
numbered AS (
    SELECT
        *,
        list_transform(fields, lambda g: {{
            'name': g.name, 'reducer': g.reducer, 'told': g.told,
            'numbers': list_filter(list_transform(g.told, lambda value: {{
                'text': CASE value WHEN 'true' THEN '1' WHEN 'false' THEN '0' ELSE value END,
                'n': CASE WHEN value = 'true' THEN 1e0 WHEN value = 'false' THEN 0e0
                          WHEN regexp_matches(value, '^-?[0-9]') THEN TRY_CAST(value AS DOUBLE) END
            }}), lambda n: n.n IS NOT NULL AND isfinite(n.n))
        }}) AS by_number
    FROM typed
)
SELECT
    application,
    join_key,
    CASE WHEN winner_t IS NULL THEN 'orphan' WHEN is_labelled THEN 'joined'
         WHEN is_unlabelled THEN 'unlabelled' ELSE 'predicted' END AS status,
    environment,
    version,
    winner_at AS predicted_at,
    inputs::JSON AS inputs,
    outputs::JSON AS outputs,
    tags::JSON AS tags,
    CASE
        WHEN len(fields) + len(defaults) > 0 THEN '{{' || array_to_string(list_transform(list_sort(list_concat(
            list_transform(defaults, lambda r: {{'name': r.key, 'text': r.value."default"}}),
            list_transform(by_number, lambda g: {{'name': g.name, 'text': CASE
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
    CASE WHEN is_labelled THEN (first_label_t - winner_t) / 1e6 END AS feedback_delay_s,
    feedback_events::JSON AS feedback_events,
    conflicts::JSON AS conflicts,
    sample_rate,
    clock_skew,
    winner_logged_at AS logged_at,
    winner_id AS prediction_event_id,
    updated_at,
    row_version
FROM numbered;
